#!/bin/sh
# One promotion from a shell. The secrets are read from files that only you can read:
#   ~/.config/image-promote/test-password, ~/.config/image-promote/production-token
# Where certificates are not publicly trusted, set IMAGE_PROMOTE_SOURCE_CA and IMAGE_PROMOTE_DESTINATION_CA to files with the CA
# certificates, as PEM.
# Usage: promote.sh VERSION
set -eu

version=${1:?usage: promote.sh VERSION}
# The version becomes a part of the list of images: "1.9.2=prod/other" would choose another one.
case $version in
  '' | [.-]* | *[!A-Za-z0-9_.-]*) echo "The version is not a tag." >&2; exit 2 ;;
esac
secrets=${XDG_CONFIG_HOME:-$HOME/.config}/image-promote

node "$(dirname "$0")/../../dist/index.js" \
  --source-cluster https://api.test.example:6443 \
  --source-username promoter \
  --source-password-file "$secrets/test-password" \
  --destination-cluster https://api.production.example:6443 \
  --destination-token-file "$secrets/production-token" \
  --report report.json \
  -- "test/api:$version=prod/api" "test/web:$version=prod/web"
