# SPDX-License-Identifier: Apache-2.0
"""The monitor's page as Rerun has it; only where Rerun is installed (make monitor)."""

import http.client
import importlib.util
import socket
import subprocess

import numpy as np
import pytest

from ptp_description import sawyer_urdf_path
from ptp_nodes.tools.monitor.rerun_server import HOST, require_rerun, serving
from ptp_robot.urdf import read_shapes

if importlib.util.find_spec("rerun") is not None:
    import rerun as rr

    from ptp_nodes.tools.monitor.rerun_page import NAME, Page, quaternion

    def test_everything_that_is_drawn_is_in_the_recording(tmp_path):
        shapes = read_shapes(sawyer_urdf_path())
        path = tmp_path / "page.rrd"
        recording = rr.RecordingStream(NAME)
        recording.save(path)
        page = Page(recording, shapes)
        page.image("plan", np.zeros((120, 400, 3), np.uint8))
        page.number("learner", "q/loss", 0.5)
        page.links(shapes.frames({"right_j0": 1.0}))
        page.trace(np.array([[0.5, 0.0, 0.0], [0.6, 0.0, 0.0]]))
        page.text("**acting**")
        recording.disconnect()
        command = [str(require_rerun()), "rrd", "print", str(path)]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        paths = ("/images/plan", "/curves/learner/q/loss", "/arm", "/way", "/run", "/workspace")
        assert [name for name in paths if name not in listing] == []

    def test_a_quaternion_turns_as_its_matrix_does():
        rng = np.random.default_rng(3)
        for x, y, z, w in (q / np.linalg.norm(q) for q in rng.normal(size=(20, 4))):
            matrix = np.array(
                [
                    [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                    [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                    [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
                ]
            )
            found = quaternion(matrix)
            assert abs(found @ [x, y, z, w]) > 1.0 - 1e-9

    @pytest.mark.process
    def test_the_page_is_served_to_this_machine_alone_and_ends_with_the_program():
        ports = []
        for _ in range(2):
            with socket.socket() as probe:
                probe.bind((HOST, 0))
                ports.append(probe.getsockname()[1])
        with serving(*ports, "100MB") as server:
            connection = http.client.HTTPConnection(HOST, ports[0], timeout=10)
            connection.request("GET", "/?x")
            assert b"rerun" in connection.getresponse().read().lower()
            listening = subprocess.run(["ss", "-ltn"], capture_output=True, text=True).stdout
            for port in ports:
                assert f"{HOST}:{port} " in listening
                assert f"0.0.0.0:{port} " not in listening
        assert server.process.returncode is not None
