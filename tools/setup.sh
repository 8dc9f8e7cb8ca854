#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Find a Python that can make the environment, then hand over to workspace.py.
# PYTHON=/path/to/python picks one by hand.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
venv=${here%/*}/.venv
# colcon's scripts, Python's #! lines and lists of paths do not carry these characters.
real=$(CDPATH='' cd -- "$here/.." && pwd -P)
case ${here%/*}$real in
  *[[:space:]:\;\"\'\`\$\&\|\<\>\(\)\*\?\[\]\{\}\#\!\\]*)
    echo "set-up: the folder $real has a space or a special character in its name:" \
      "move the checkout to a folder with letters, digits, - _ . and / alone" >&2
    exit 2 ;;
esac
wanted=wheels
if [ "${ROS_DISTRO:-}" = jazzy ]; then
  # Jazzy counts as sourced where its packages are really there. This workspace's own folders may be
  # sourced as well, the wheels in the .venv of another checkout, a workspace whose ROS 2 is gone.
  foreign='' ament_cmake=ament_cmake rclpy=rclpy
  IFS=:
  for prefix in ${AMENT_PREFIX_PATH:-}; do
    case $prefix in ""|"${here%/*}"/*) continue ;; esac
    foreign=$prefix
    [ ! -e "$prefix/pyvenv.cfg" ] || continue
    [ ! -e "$prefix/share/ament_cmake/package.xml" ] || ament_cmake=
    [ ! -e "$prefix/share/rclpy/package.xml" ] || rclpy=
  done
  unset IFS
  lacking="$ament_cmake${ament_cmake:+${rclpy:+ and }}$rclpy"
  if [ -n "$foreign" ] && [ -z "$lacking" ]; then
    wanted=jazzy
  elif [ -n "$foreign" ]; then
    echo "set-up: AMENT_PREFIX_PATH ($foreign) has no installed ROS 2 Jazzy ($lacking missing) and" \
      "is ignored: source /opt/ros/jazzy/setup.bash first to build on that one" >&2
    unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH
  fi
fi

supported='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'
complete='import ensurepip, os, sysconfig, venv
open(os.path.join(sysconfig.get_path("include"), "Python.h")).close()'

# An environment that is there goes on with its own Python; one made from wheels gives way to a
# ROS 2 that is sourced.
export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
made=$(cat "$venv/setup/venv.stamp" 2>/dev/null || true)
if [ "$made" = jazzy ] || { [ "$made" = wheels ] && [ $wanted = wheels ]; }; then
  if "$venv/bin/python" -I -c "$supported" >/dev/null 2>&1; then
    exec "$venv/bin/python" -I "$here/workspace.py" "$@"
  fi
fi

# ROS 2 Jazzy is built for the system's Python; PyBullet has a wheel for 3.11 alone.
if [ $wanted = jazzy ]; then
  candidates="/usr/bin/python3 python3.12 python3"
else
  candidates="python3.11 python3.12 python3.10 python3.13 python3 /usr/bin/python3"
fi
fallback=
for python in ${PYTHON:-$candidates}; do
  "$python" -I -c "$supported" >/dev/null 2>&1 || continue
  fallback=${fallback:-$python}
  if "$python" -I -c "$complete" >/dev/null 2>&1; then
    exec "$python" -I "$here/workspace.py" "$@"
  fi
done
if [ -n "$fallback" ]; then
  exec "$fallback" -I "$here/workspace.py" "$@"
fi
echo "set-up: Python 3.10 to 3.13 is needed: sudo apt install python3 python3-venv python3-dev" >&2
exit 2
