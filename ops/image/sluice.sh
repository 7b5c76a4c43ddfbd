#!/bin/sh
# Installs Sluice itself beside its dependencies, and leaves two commands: its own and the healthcheck.
set -eu
shipped=/opt/sluice
packages=$("$shipped/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
pip() { /opt/build/bin/pip --python "$shipped/bin/python" "$@"; }

# The locked setuptools builds it and is not needed afterwards.
pip install --quiet --no-deps --no-index --no-build-isolation /src
pip uninstall --quiet --yes setuptools
"$shipped/bin/python" -m compileall -q --invalidation-mode unchecked-hash \
  "$packages/sluice" "$packages/gateway" "$packages/worker"
chmod -R go+rX,go-w "$packages/sluice" "$packages/gateway" "$packages/worker"

find "$shipped/bin" -type f -delete
install -m 0755 /src/image/entry.py "$shipped/bin/sluice"
install -m 0755 /src/image/healthcheck.py "$shipped/bin/sluice-healthcheck"
