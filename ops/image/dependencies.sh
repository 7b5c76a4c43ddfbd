#!/bin/sh
# Takes away what Sluice does not need of its dependencies and parts them: most of the bytes are the
# embedded warehouse, which goes into a folder, and so a layer, of its own. Where that layer is not,
# Python passes over its line. Called in the step that installed them, so that nothing is kept twice.
set -eu
shipped=/opt/sluice embedded=/opt/embedded
lands=$shipped/embedded # inside Python's prefix: the warehouse locks itself out of what is elsewhere
packages=$("$shipped/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# chDB wants pandas and pyarrow for data frames alone; Sluice asks it for text.
/opt/build/bin/pip --python "$shipped/bin/python" uninstall --quiet --yes pandas pyarrow
rm -rf "$packages/datastore" "$packages/adbc_driver_chdb"
find "$packages" -type d \( -name tests -o -name include -o -name __pycache__ \) -prune -exec rm -rf {} +
find "$packages" -type f \( -name '*.py[ix]' -o -name '*.px[di]' -o -name '*.h' -o -name '*.hpp' -o -name '*.c' \
  -o -name '*.cpp' -o -name '*.a' -o -name '*.lib' \) -delete

mkdir "$embedded"
mv "$packages"/chdb* "$embedded/"
echo "$lands" > "$packages/embedded.pth"

# The root may be read-only, so Python's compiled modules are made now. They carry no time stamp: the
# same source gives the same bytes.
"$shipped/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$packages"
"$shipped/bin/python" -m compileall -q --invalidation-mode unchecked-hash -s "$embedded" -p "$lands" "$embedded"
chmod -R go+rX,go-w "$packages" "$embedded" # a wheel may have files that only root could read
