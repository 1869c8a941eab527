# The one entry point. `make help` lists the targets; each recipe only calls cargo, and `setup` what cargo cannot bring.

# Everything that building, testing and benchmarking take from Debian. apt is asked only when one of them is missing.
PACKAGES := bc bison btrfs-progs build-essential ca-certificates ccache cpio debian-archive-keyring dhcpcd-base dnsmasq-base docker.io dosfstools dpkg-dev e2fsprogs flex \
	grub-efi-amd64-bin grub-common iproute2 isolinux kmod libelf-dev libprotobuf-dev libssl-dev mmdebstrap mtools openssh-client ovmf protobuf-compiler \
	qemu-system-x86 squashfs-tools syslinux-common util-linux xfsprogs xorriso xz-utils zstd
# What the program `ros` alone is built with.
ROS_PACKAGES := build-essential ca-certificates libprotobuf-dev protobuf-compiler
# Servers that only the tests meet: whoever just builds does not want them on the machine.
TEST_PACKAGES := aardvark-dns etcd-client etcd-server iperf3 openssl socat sudo

CARGO ?= cargo
IMAGE := $(CARGO) run --quiet --package image-build --

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install the Debian packages that the other targets need
	$(call install,$(PACKAGES))

.PHONY: setup-ros
setup-ros: ## Install the few Debian packages that the program `ros` alone needs
	$(call install,$(ROS_PACKAGES))

.PHONY: setup-tests
setup-tests: ## The same with those that only tests need
	$(call install,$(PACKAGES) $(TEST_PACKAGES))

define install
@missing=$$(dpkg-query -W -f '$${Package} $${db:Status-Status}\n' $(1) 2>/dev/null | \
  awk -v all='$(1)' '$$2 == "installed" { have[$$1] = 1 } END { n = split(all, want, " "); for (i = 1; i <= n; i++) if (!have[want[i]]) print want[i] }'); \
if [ -n "$$missing" ]; then \
  echo "installing:" $$missing; \
  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
  $$sudo apt-get -qq update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get -qq install --no-install-recommends $$missing; \
fi
endef

.PHONY: image
image: setup ## Build kernel, initrd, ISO, manifest and SBOM into build/
	$(IMAGE) all

.PHONY: ros
ros: setup-ros ## Build the program `ros`, with the server of a cluster, for any Linux, into build/
	$(CARGO) build --quiet --release --locked --package ros
	install -D $$($(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/x86_64-unknown-linux-gnu/release/ros build/ros

.PHONY: iso
iso: image ## The same: build/ros.iso is part of the image

.PHONY: quick
quick: setup ## Build kernel and initrd for work on the code: compressed quickly rather than well
	$(IMAGE) --quick initrd

.PHONY: sizes
sizes: setup ## Show what takes how much of the image
	$(IMAGE) sizes

.PHONY: run
run: image ## Boot the image in QEMU to a login with docker ready (RUN="--boot uefi --fresh" …)
	$(CARGO) run --quiet --release --package qemu-tests --bin run -- $(RUN)

.PHONY: check
check: setup ## Formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

.PHONY: unit
unit: setup-tests ## Tests that need no built image
	$(CARGO) test --workspace --locked --exclude qemu-tests --exclude cluster-tests
	$(CARGO) test --package qemu-tests --package cluster-tests --locked --lib

.PHONY: test-cluster
test-cluster: setup-tests ## Clusters of hosts that are namespaces of this machine, each with a Docker of its own (needs root)
	$(CARGO) test --package cluster-tests --locked --test '*' -- --test-threads=1

.PHONY: test
test: setup-tests check unit test-cluster image ## All tests: formatting, lints, unit, root, clusters and QEMU
	$(CARGO) test --package qemu-tests --locked --release -- --test-threads=1

.PHONY: openapi
openapi: ## Write docs/api/openapi.json anew, after a change of the API
	$(CARGO) run --quiet --package control-plane --example openapi

.PHONY: bench
bench: image ## Measure boot time, memory and sizes beside a Debian with systemd; fails over budget
	$(CARGO) run --quiet --release --package qemu-tests --bin bench

.PHONY: bench-cluster
bench-cluster: setup-tests image ## Measure clusters: beside Docker Swarm, in virtual machines, with a thousand hosts, and names beside dnsmasq
	$(CARGO) run --quiet --release --package cluster-tests --bin bench
	$(CARGO) run --quiet --release --package cluster-tests --bin bench-vms
	$(CARGO) bench --quiet --package control-plane --bench agents
	$(CARGO) bench --quiet --package agent --bench dns

.PHONY: clean
clean: ## Remove build/ (the cache in ~/.cache/rancheros stays; `make distclean` empties it too)
	rm -rf build

.PHONY: distclean
distclean: clean ## Remove build/, cargo's output and the cache
	$(IMAGE) clean --cache
	$(CARGO) clean
