#!/bin/sh
# Download CIFAR-100 (binary version, 161 MiB) into a data directory: fetch_cifar100.sh [DIR [URL ...]]
# DIR (default $FCIL_DATA, else data) receives cifar-100-binary/. URLs replace the known sources.
set -eu
case ${1:-} in
-*)
    echo "usage: fetch_cifar100.sh [DIR [URL ...]]" >&2
    exit 2
    ;;
esac
dir=${1:-${FCIL_DATA:-data}}
[ $# -eq 0 ] || shift
if [ $# -eq 0 ]; then
    set -- https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz \
        https://cave.cs.toronto.edu/kriz/cifar-100-binary.tar.gz \
        https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-100-binary.tar.gz
fi
exec sh "$(dirname "$0")/fetch.sh" cifar-100-binary.tar.gz 03b5dce01913d631647c71ecec9e9cb8 \
    cifar-100-binary/train.bin "$dir" "$@"
