# What the scripts share: finding the toolchain, installing Debian packages. Sourced by them.
# shellcheck shell=bash disable=SC2034

# The Debian packages that each script needs, by what for.
packages_build=(gcc libc6-dev protobuf-compiler libprotobuf-dev) # protoc and its types: etcd's client
packages_ship=(musl-tools)
packages_demo=(iproute2 iputils-ping jq procps sqlite3)
packages_test=(etcd-server etcd-client openssl sqlite3 jq iproute2 iputils-ping ca-certificates
    containerd runc podman containernetworking-plugins iptables busybox-static bird2)
packages_bench=(strace) # beside those of the tests

say() { printf '\n=== %s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

need_root() { [ "$(id -u)" = 0 ] || die "$0 makes network namespaces: run it as root"; }

# Finds cargo where rustup puts it, if it isn't in the path.
need_cargo() {
    if ! command -v cargo >/dev/null; then
        PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
        export PATH
    fi
    command -v cargo >/dev/null || die "no cargo: install a Rust toolchain (https://rustup.rs)"
}

# Installs those of the packages that are missing; does nothing, and needs no network, when none is.
need_packages() {
    local package missing=()
    for package in "$@"; do
        case "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)" in
        installed) ;;
        *) missing+=("$package") ;;
        esac
    done
    if [ ${#missing[@]} = 0 ]; then return; fi
    say "installing ${missing[*]}"
    [ "$(id -u)" = 0 ] || die "packages are missing: run as root, or install them: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    # Debian starts the services that it installs, unless this file says no. We only need programs.
    local policy=/usr/sbin/policy-rc.d ours=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        ours=yes
    fi
    local status=0
    apt-get -q install --yes --no-install-recommends "${missing[@]}" || status=$?
    if [ "$ours" = yes ]; then rm -f "$policy"; fi
    return "$status"
}

# Sets ship_target, the target that what ships is built for, and installs it. It is linked with musl:
# glibc asks the processor for its caches at every start, which takes half a millisecond in a virtual
# machine, and can't look up names when it is linked in.
need_target() {
    ship_target="$(uname -m)-unknown-linux-musl"
    if [ -d "$(rustc --print target-libdir --target "$ship_target")" ]; then return; fi
    say "installing Rust's target $ship_target"
    command -v rustup >/dev/null || die "no target $ship_target, and no rustup to install it: install Rust's std for it"
    rustup target add "$ship_target"
}
