# SPDX-License-Identifier: Apache-2.0
"""HDF5 files from others: nothing outside of the file is followed, no size believed.

HDF5 can name other files: by external and soft links, virtual data sets, and raw storage that
lies elsewhere. A reader would then show what its user may read and the sender may not.
"""

from __future__ import annotations

import h5py

from ptp_core.data.budget import OverBudget, check_declared

OBJECTS = 1_000_000  # groups and data sets of one file


def check_hdf5(file: h5py.File) -> None:
    """Raise ValueError for what leads out of the file, OverBudget for declared sizes."""
    declared = stored = count = 0
    seen: set[int] = set()
    groups = [file["/"]]
    while groups:
        group = groups.pop()
        for name in group:
            where = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{where} leads to another file or place")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:  # two names of one object; a group may hold itself
                continue
            seen.add(address)
            count += 1
            if count > OBJECTS:
                raise OverBudget(f"it has more than {OBJECTS} groups and data sets")
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise ValueError(f"{where} keeps its data in another file")
                try:
                    check_declared(item.nbytes, item.id.get_storage_size())
                except OverBudget as error:
                    raise OverBudget(f"{where}: {error}") from None
                declared += item.nbytes
                stored += item.id.get_storage_size()
    check_declared(declared, stored)
