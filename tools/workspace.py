# SPDX-License-Identifier: Apache-2.0
"""Make .venv, build the colcon workspace and write .venv/bin/ptp; do only what is stale.

Each step leaves a stamp in .venv/setup/ that says what the step was made from, so that an
interrupted set-up goes on where it stopped and a finished one costs a few hashes. Runs on the
standard library of Python 3.10 to 3.13; tools/setup.sh finds one and starts it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STATE = VENV / "setup"
LOCK = ROOT / "requirements.lock"
# PyTorch with CUDA, as the Python index has it, or PyTorch's own build for CPUs: a lock for each.
TORCH_CUDA = ROOT / "requirements-torch-cuda.lock"
TORCH_CPU = ROOT / "requirements-torch-cpu.lock"
TORCH_INDEX = "PTP_TORCH_INDEX"  # address of PyTorch's index of CPU wheels; empty: pip's own
# With ROS 2 sourced these come from the distribution: its messages are compiled for its numpy.
FROM_ROS = re.compile(r"ros-|numpy==|lark-parser==")
# Variables in which ROS 2 keeps its search paths.
PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"  # whom Fast DDS listens to
ROS_PATHS = ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH")

Paths = dict[str, str]


class SetupError(Exception):
    """Set-up cannot go on; the message is one line that says what to do."""


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"set-up: {text}", flush=True)


def digest(*parts: str | Path) -> str:
    """Return a hash of texts and of the contents of files."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode()
        sha.update(hashlib.sha256(data).digest())
    return sha.hexdigest()


def missing_tools() -> list[tuple[str, str]]:
    """Return (what is missing, its Debian package) for each tool that set-up needs."""
    missing = []
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        missing.append(("Python's venv module", "python3-venv"))
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        missing.append(("Python's C headers", "python3-dev"))
    if not shutil.which(os.environ.get("CC", "cc")):
        missing.append(("a C compiler", "gcc"))
    if not shutil.which(os.environ.get("CXX", "c++")):
        missing.append(("a C++ compiler", "g++"))
    if not shutil.which("make"):
        missing.append(("make", "make"))
    found = "none"
    if shutil.which("cmake"):
        text = subprocess.run(["cmake", "--version"], capture_output=True, text=True).stdout
        match = re.search(r"(\d+)\.(\d+)", text)
        found = match.group() if match else "unknown"
        if match and (int(match[1]), int(match[2])) >= (3, 20):
            return missing
    return [*missing, (f"cmake >= 3.20 (found: {found})", "cmake")]


def check_machine(ros: Paths | None) -> None:
    """Raise SetupError with one line that names everything that is missing."""
    if ros is None and (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SetupError(
            f"ROS 2 wheels exist for x86-64 Linux, this is {sys.platform} {platform.machine()}: "
            "install ROS 2 Jazzy, source it and start again"
        )
    missing = missing_tools()
    if missing:
        names = ", ".join(name for name, _ in missing)
        packages = " ".join(package for _, package in missing)
        raise SetupError(f"missing {names}: sudo apt install {packages}")


def sourced_ros() -> Paths | None:
    """Return the search paths of the ROS 2 Jazzy to build on, or None to take the wheels.

    An environment that was made with Jazzy sourced stays with it when Jazzy is not sourced now.
    """
    if os.environ.get("ROS_DISTRO") == "jazzy" and os.environ.get("AMENT_PREFIX_PATH"):
        ros = {}
        for name in ROS_PATHS:
            entries = os.environ.get(name, "").split(os.pathsep)
            # This workspace's own folders may be sourced as well.
            entries = [e for e in entries if e and not Path(e).absolute().is_relative_to(ROOT)]
            ros[name] = os.pathsep.join(entries)
        if ros["AMENT_PREFIX_PATH"]:
            return ros
    recorded = STATE / "ros.json"
    if recorded.is_file():
        ros = json.loads(recorded.read_text())
        prefixes = [Path(p) for p in ros["AMENT_PREFIX_PATH"].split(os.pathsep)]
        # Jazzy may have been removed since; tools/setup.sh asks the same of what is sourced.
        if all(p.is_dir() for p in prefixes) and all(
            any((p / "share" / name / "package.xml").is_file() for p in prefixes)
            for name in ("ament_cmake", "rclpy")
        ):
            return ros
    return None


def base_environment(ros: Paths | None) -> dict[str, str]:
    """Return the environment in which pip and colcon run: the venv first, ROS 2 behind it."""
    env = {k: v for k, v in os.environ.items() if k not in (*ROS_PATHS, "PYTHONHOME")}
    env["VIRTUAL_ENV"] = str(VENV)
    env["PATH"] = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    env["ROS_DISTRO"] = "jazzy"
    if ros is not None:
        return env | {name: value for name, value in ros.items() if value}
    env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = str(VENV)
    libraries = Path(sysconfig.get_path("purelib")).glob("ros_*.libs")
    env["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, [VENV / "lib", *sorted(libraries)]))
    # Tells the wheels' start-up hook that the line above is set; else it starts Python twice.
    env["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"
    return env


def run(
    command: list[str], env: dict[str, str], log: str, count: tuple[str, int] | None = None
) -> None:
    """Run a command, keep its output in .venv/setup/<log> and show how far it is.

    count is (start of the lines to count, how many will come); None shows every line.
    """
    path = STATE / log
    started = shown = time.monotonic()
    done = 0
    finished = threading.Event()

    def beat() -> None:
        while not finished.wait(1):
            nonlocal shown
            if time.monotonic() - shown > 15:
                shown = time.monotonic()
                print(f"  … {shown - started:.0f} s", flush=True)

    process = subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    threading.Thread(target=beat, daemon=True).start()
    try:
        with path.open("w") as file:
            for line in process.stdout:
                file.write(line)
                if count is None:
                    print(f"  {line.rstrip()}", flush=True)
                    shown = time.monotonic()
                elif line.startswith(count[0]):
                    done += 1
                    if time.monotonic() - shown > 2 or done == count[1]:
                        shown = time.monotonic()
                        name = line[len(count[0]) :].split()[0]
                        print(f"  {done}/{count[1]} {name}", flush=True)
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        finished.set()
    if code:
        if count is not None:
            for line in path.read_text().splitlines()[-15:]:
                print(f"  {line}", file=sys.stderr)
        raise SetupError(f"`{shlex.join(command[1:4])} …` failed; the whole output is in {path}")


def step(name: str, key: str, title: str, action: Callable[[], None]) -> str:
    """Run an action unless its stamp holds this key; return the key for the steps that follow."""
    stamp = STATE / f"{name}.stamp"
    if not stamp.is_file() or stamp.read_text() != key:
        stamp.unlink(missing_ok=True)
        say(title)
        start = time.monotonic()
        action()
        stamp.write_text(key)
        say(f"{name}: done in {time.monotonic() - start:.0f} s")
    return key


def make_venv(mode: str, ros: Paths | None) -> None:
    """Make a fresh .venv; with ROS 2 sourced it sees the distribution's Python packages."""
    say(f"making .venv with Python {platform.python_version()}, ROS 2 Jazzy from {mode}")
    # Only what set-up made is deleted; .venv/setup is its mark, COLCON_IGNORE that of colcon.
    if VENV.exists() and any(VENV.iterdir()) and not STATE.is_dir():
        raise SetupError(f"{VENV} was not made by set-up: move it away and start again")
    shutil.rmtree(VENV, ignore_errors=True)
    # What was built for another Python or another ROS 2 does not fit.
    for folder in ("build", "install", "log"):
        if (ROOT / folder / "COLCON_IGNORE").exists():
            shutil.rmtree(ROOT / folder, ignore_errors=True)
    STATE.mkdir(parents=True, exist_ok=True)
    python = getattr(sys, "_base_executable", sys.executable)
    command = [python, "-I", "-m", "venv", *(["--system-site-packages"] if ros else []), str(VENV)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        output = " ".join((result.stdout + result.stderr).split())
        raise SetupError(f"`python -m venv` failed: {output}")
    (VENV / "COLCON_IGNORE").touch()
    if ros is None:
        (VENV / "local_setup.sh").touch()  # colcon warns of a prefix that has none
    else:
        (STATE / "ros.json").write_text(json.dumps(ros))
    (STATE / "venv.stamp").write_text(mode)


def locked(ros: Paths | None, lock: Path = LOCK) -> list[str]:
    """Return the entries of a lock that this environment installs, with their hashes."""
    entries = re.findall(r"^[\w.-]+==.*(?:\n +--hash.*)*", lock.read_text(), flags=re.MULTILINE)
    return [e for e in entries if ros is None or not FROM_ROS.match(e)]


def forget_cut_off_installs() -> None:
    """Make pip install again what it was installing when it was killed.

    pip takes a package with metadata for installed. It writes INSTALLER after all other files.
    """
    for info in Path(sysconfig.get_path("purelib")).glob("*.dist-info"):
        if not (info / "INSTALLER").is_file():
            shutil.rmtree(info)


def install_packages(ros: Paths | None, env: dict[str, str]) -> None:
    """Install the locked packages, every file checked against its hash."""
    forget_cut_off_installs()
    entries = locked(ros)
    if sys.version_info >= (3, 12):
        say("PyBullet has no wheel for this Python: it is compiled, which takes some minutes")
    command = pip_install(entries, "requirements")
    run(command, env, "packages.log", ("Collecting ", len(entries)))


def pip_install(entries: list[str], name: str) -> list[str]:
    """Return the command that installs entries of a lock, every file checked against its hash."""
    wanted = STATE / f"{name}.txt"
    wanted.write_text("\n".join(entries) + "\n")
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--no-input"]
    return [*pip, "--require-hashes", "--no-deps", "--progress-bar", "off", "-r", str(wanted)]


def install_torch(ros: Paths | None, env: dict[str, str]) -> None:
    """Install PyTorch: for CPUs where such a wheel is at hand, else as the Python index has it.

    One index is asked at a time: what two of them offer under one name cannot be told apart.
    """
    forget_cut_off_installs()
    cpu = locked(ros, TORCH_CPU)
    index = os.environ.get(TORCH_INDEX, "")
    if index:
        env = env | {"PIP_INDEX_URL": index, "PIP_EXTRA_INDEX_URL": ""}
    command = pip_install(cpu, "torch")
    trial = subprocess.run([*command, "--dry-run", "--quiet"], env=env, capture_output=True)
    if not trial.returncode:
        run(command, env, "torch.log")
    elif index:
        raise SetupError(
            f"{TORCH_INDEX} has no wheel for this Python whose hash is in {TORCH_CPU.name}: "
            f"`{TORCH_INDEX}={index} make lock` on a machine that has one, look at what changed, "
            "and start again"
        )
    else:
        say(f"installing PyTorch with CUDA, several GB; {TORCH_INDEX} can name CPU wheels")
        entries = locked(ros, TORCH_CUDA)
        run(pip_install(entries, "torch"), env, "torch.log", ("Collecting ", len(entries)))


def rewrite_targets() -> None:
    """Point the CMake targets of the ROS wheels at this machine's headers.

    They name the folders of Python and of numpy on the machine that built the wheels.
    """
    import numpy

    built = r"/opt/python/cp3\d+-cp3\d+"
    headers = {
        rf"{built}/lib/python3\.\d+/site-packages/numpy/_core/include": numpy.get_include(),
        rf"{built}/include/python3\.\d+": sysconfig.get_path("include"),
    }
    for path in (VENV / "share").rglob("*.cmake"):
        text = new = path.read_text()
        for pattern, folder in headers.items():
            new = re.sub(pattern, lambda _, folder=folder: folder, new)
        if new != text:
            path.write_text(new)


def package_inputs(folder: Path) -> list[str | Path]:
    """Return what a built package depends on. Its Python and data files are linked, not copied."""
    inputs: list[str | Path] = []
    for name in ("package.xml", "setup.py", "setup.cfg", "CMakeLists.txt"):
        if (folder / name).is_file():
            inputs += [name, folder / name]
    for kind in ("msg", "srv", "action"):
        for path in sorted((folder / kind).glob(f"*.{kind}")):
            inputs += [path.name, path]
    if folder.name == "ptp_bringup":
        for top in ("launch", "config", "models"):
            inputs += [str(path.relative_to(ROOT)) for path in sorted((ROOT / top).rglob("*"))]
    return inputs


def build_workspace(ros: Paths | None, env: dict[str, str], base: str) -> str:
    """Build the packages that changed; return the key of the whole workspace."""
    folders = sorted(path.parent for path in (ROOT / "src").glob("*/package.xml"))
    keys = {folder.name: digest(base, *package_inputs(folder)) for folder in folders}
    stamps = {name: STATE / f"package-{name}.stamp" for name in keys}
    stale = [
        name
        for name, stamp in stamps.items()
        if not (ROOT / "install" / name).is_dir()
        or not stamp.is_file()
        or stamp.read_text() != keys[name]
    ]
    if stale:
        check_machine(ros)
        say(f"building {' '.join(stale)}")
        start = time.monotonic()
        for name in stale:
            stamps[name].unlink(missing_ok=True)
        colcon = [str(VENV / "bin" / "python"), "-m", "colcon", "build", "--symlink-install"]
        colcon += ["--base-paths", "src", "--packages-select", *stale]
        colcon += ["--cmake-args", "-DBUILD_TESTING=OFF"]
        run(colcon, env, "build.log")
        for name in stale:
            stamps[name].write_text(keys[name])
        say(f"workspace: done in {time.monotonic() - start:.0f} s")
    return digest(*keys.values())


def write_commands(env: dict[str, str], ros: Paths | None) -> None:
    """Write .venv/ptp_env.sh, the environment of the built workspace, and .venv/bin/ptp."""
    sourced = subprocess.run(
        ["sh", "-c", '. "$0" && env -0', str(ROOT / "install" / "local_setup.sh")],
        env=env, capture_output=True,
    )  # fmt: skip
    if sourced.returncode:
        said = " ".join(sourced.stderr.decode(errors="replace").split())
        raise SetupError(f"install/local_setup.sh of colcon failed: {said}")
    built = dict(item.split("=", 1) for item in sourced.stdout.decode().split("\0") if "=" in item)
    lines = [
        "# Written by tools/workspace.py. In sh, bash and zsh: `. .venv/ptp_env.sh` gives a shell",
        "# in which ROS 2 and this workspace are ready to use.",
        f'if [ "${{PTP_ENVIRONMENT:-}}" != {shlex.quote(str(VENV))} ]; then',
    ]
    if ros is None:
        lines += [
            "  # Another ROS 2 is sourced: its libraries do not mix with those of the wheels.",
            '  if [ -n "${AMENT_PREFIX_PATH:-}" ]; then unset PYTHONPATH LD_LIBRARY_PATH; fi',
            "  unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH",
            "  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1",
        ]
    else:
        lines.append('  if [ -z "${AMENT_PREFIX_PATH:-}" ]; then')
        lines += [f"    {prepend(name, ros[name])}" for name in ROS_PATHS if ros[name]]
        lines.append("  fi")
    for name in ROS_PATHS:
        behind = (ros or {}).get(name, "").split(os.pathsep)
        own = [p for p in built.get(name, "").split(os.pathsep) if p and p not in behind]
        if own:
            lines.append(f"  {prepend(name, os.pathsep.join(own))}")
    lines += [
        f"  {prepend('PATH', str(VENV / 'bin'))}",
        f"  export PTP_ENVIRONMENT={shlex.quote(str(VENV))} ROS_DISTRO=jazzy ROS_VERSION=2",
        '  export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"',
        f"  : ${{{PROFILES}:={shlex.quote(str(ROOT / 'config' / 'dds' / 'fastdds.xml'))}}}",
        f"  export {PROFILES}",
        # Nodes of others, as rviz2, are told here of the interfaces that lead to peers.
        '  if [ -n "${ROS_STATIC_PEERS:-}" ]; then',
        f"    {PROFILES}=$({shlex.quote(str(VENV / 'bin' / 'python'))} -m ptp_ros.middleware)",
        "  fi",
        "fi",
    ]
    (VENV / "ptp_env.sh").write_text("\n".join(lines) + "\n")
    command = f"""#!/bin/sh
# Written by tools/workspace.py: the ptp command in the environment of this workspace.
root={shlex.quote(str(ROOT))}
changed=$(find "$root"/requirements*.lock "$root/tools" "$root/src/ptp_interfaces" \\
  "$root"/src/*/package.xml "$root"/src/*/setup.* \\
  -newer "$root/.venv/setup/workspace.stamp" -print -quit 2>/dev/null)
if [ -n "$changed" ]; then "$root/tools/setup.sh" >&2 || exit 2; fi
. "$root/.venv/ptp_env.sh"
export PYTHONSAFEPATH=1
exec "$root/.venv/bin/python" -m ptp_cli "$@"
"""
    path = VENV / "bin" / "ptp"
    path.write_text(command)
    path.chmod(0o755)
    check_commands(env)


def check_commands(env: dict[str, str]) -> None:
    """Raise SetupError unless the environment that was written finds every package of ours."""
    names = [path.parent.name for path in sorted((ROOT / "src").glob("*/package.xml"))]
    plain = {k: v for k, v in env.items() if k not in (*ROS_PATHS, "PTP_ENVIRONMENT")}
    script = '. "$0" && exec "$1" -c "$2"'
    code = f"import {', '.join(names)}"
    python = str(VENV / "bin" / "python")
    done = subprocess.run(
        ["sh", "-c", script, str(VENV / "ptp_env.sh"), python, code],
        env=plain, cwd=STATE, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SetupError(
            f"the workspace is built but cannot be used ({last}): remove build, install and .venv "
            f"in {ROOT} and start again"
        )


def prepend(name: str, value: str) -> str:
    """Return the shell line that puts paths in front of a search path."""
    return f'export {name}={shlex.quote(value)}"${{{name}:+:${name}}}"'


def main() -> int:
    """Bring the environment up to date."""
    # One set-up at a time: `ptp` in another shell may start one as well.
    lock = os.open(ROOT / "tools", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another set-up of this folder")
        fcntl.flock(lock, fcntl.LOCK_EX)

    ros = sourced_ros()
    mode = "jazzy" if ros else "wheels"
    stamp = STATE / "venv.stamp"
    in_venv = Path(sys.prefix).resolve() == VENV
    if not in_venv or not stamp.is_file() or stamp.read_text() != mode:
        check_machine(ros)
        make_venv(mode, ros)
        # Everything else runs in the new environment; the lock is closed with this program.
        python = str(VENV / "bin" / "python")
        again = [python, "-I", str(Path(__file__).resolve()), *sys.argv[1:]]
        os.execve(python, again, dict(os.environ))

    env = base_environment(ros)
    key = digest(mode, sys.version, "".join(locked(ros)))
    key = step(
        "packages", key, f"installing {len(locked(ros))} Python packages from requirements.lock",
        lambda: install_packages(ros, env),
    )  # fmt: skip
    env = base_environment(ros)  # the wheels' library folders exist now
    torch_key = digest(key, TORCH_CPU, TORCH_CUDA)
    step("torch", torch_key, "installing PyTorch", lambda: install_torch(ros, env))
    if ros is None:
        step("targets", key, "fitting the ROS 2 wheels to this machine", rewrite_targets)
    if "--packages" in sys.argv[1:]:  # docker/Dockerfile keeps them in a layer of their own
        return 0
    key = build_workspace(ros, env, key)
    key = digest(key, Path(__file__))
    step("commands", key, "writing .venv/bin/ptp", lambda: write_commands(env, ros))
    (STATE / "workspace.stamp").touch()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("set-up: interrupted; start it again to go on", file=sys.stderr)
        sys.exit(130)
