#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Run a command where ROS 2 and the workspace are ready to use.
set -eo pipefail
# shellcheck source=/dev/null
. /opt/ros/jazzy/setup.bash
# shellcheck source=/dev/null
. /opt/ptp/.venv/ptp_env.sh
exec "$@"
