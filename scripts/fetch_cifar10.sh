#!/bin/sh
# Download CIFAR-10 (binary version, 162 MiB) into a data directory: fetch_cifar10.sh [DIR [URL ...]]
# DIR (default $FCIL_DATA, else data) receives cifar-10-batches-bin/. URLs replace the known sources.
set -eu
case ${1:-} in
-*)
    echo "usage: fetch_cifar10.sh [DIR [URL ...]]" >&2
    exit 2
    ;;
esac
dir=${1:-${FCIL_DATA:-data}}
[ $# -eq 0 ] || shift
if [ $# -eq 0 ]; then
    set -- https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz \
        https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz \
        https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz
fi
exec sh "$(dirname "$0")/fetch.sh" cifar-10-binary.tar.gz c32a1d4ab5d03f1284b67883e8d87530 \
    cifar-10-batches-bin/test_batch.bin "$dir" "$@"
