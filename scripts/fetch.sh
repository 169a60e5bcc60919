#!/bin/sh
# Download an archive, check its MD5, unpack it. Called by fetch_*.sh:
#   fetch.sh ARCHIVE MD5 FILE DIR URL ...
# FILE is what the archive must contain. Each URL is tried in turn until one gives the right bytes;
# nothing is left in DIR unless all went well. Exit: 0 done or already there, 2 usage, 3 no URL worked.
set -eu

if [ $# -lt 5 ]; then
    echo "fetch.sh: expected ARCHIVE MD5 FILE DIR URL ..." >&2
    exit 2
fi
archive=$1 md5=$2 file=$3 dir=$4
shift 4

if [ -s "$dir/$file" ]; then
    echo "$dir/$file is already there"
    exit 0
fi
mkdir -p "$dir"
work=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

download() { # URL
    if command -v curl >/dev/null; then
        curl --fail --location --retry 2 --connect-timeout 20 --output "$work/$archive" "$1"
    elif command -v wget >/dev/null; then
        wget --tries=3 --timeout=20 --output-document="$work/$archive" "$1"
    else
        echo "neither curl nor wget is installed (apt-get install curl)" >&2
        exit 3
    fi
}

for url in "$@"; do
    echo "from $url" >&2
    if ! download "$url"; then
        echo "not available: $url" >&2
        continue
    fi
    found=$(md5sum "$work/$archive" | cut -d ' ' -f 1)
    if [ "$found" != "$md5" ]; then
        echo "wrong file: MD5 $found, expected $md5" >&2
        continue
    fi
    tar -xzf "$work/$archive" -C "$work"
    if [ ! -s "$work/$file" ]; then
        echo "$archive does not contain $file" >&2
        continue
    fi
    folder=${file%%/*}
    rm -rf "${dir:?}/$folder"
    mv "$work/$folder" "$dir/$folder"
    echo "$dir/$folder is ready"
    exit 0
done
echo "no source of $archive worked" >&2
exit 3
