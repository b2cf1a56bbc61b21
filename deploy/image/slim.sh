#!/bin/sh
# Takes out of an environment what nobody runs: symbols of extensions, and maps of scripts.
# Libraries that wheels bring beside them (*.libs) were patched for that: strip might break them.
set -eu
find "$1" -name '*.js.map' -delete
find "$1" -name '*.so' -type f ! -path '*.libs/*' -exec strip --strip-unneeded {} +
