#!/bin/sh
# Installs the clients that requirements.txt and package-lock.json name into target/clients, and tries them. Arguments go to
# pytest: `make clients ARGS="-k stream"`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kept=$here/../../target/clients
mkdir -p "$kept/node"
kept=$(cd "$kept" && pwd)

if ! cmp -s "$here/requirements.txt" "$kept/requirements.txt"; then
  echo "installing the clients for Python"
  python3 -m venv --clear "$kept/venv"
  "$kept/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
  cp "$here/requirements.txt" "$kept/requirements.txt"
fi
if ! cmp -s "$here/package-lock.json" "$kept/node/package-lock.json"; then
  echo "installing the client for JavaScript"
  cp "$here/package.json" "$here/.npmrc" "$kept/node"
  cp "$here/package-lock.json" "$kept/node/lock.new"
  (cd "$kept/node" && cp lock.new package-lock.json && { npm ci --silent || { rm package-lock.json; exit 1; }; })
fi
# Next to what it imports.
cp "$here"/*.mjs "$kept/node"

# Nothing is written beside the sources.
PYTHONDONTWRITEBYTECODE=1 exec "$kept/venv/bin/python" -m pytest -q -p no:cacheprovider "$here" "$@"
