# Every service and command of Stoker in one image: docker run stoker serve loader-worker
#
#   scripts/image.sh        packs a program that is built already: `make images`, and what CI tests
#   docker build -t stoker .   compiles it first; needs the registries of Docker and Rust
#
# BASE_IMAGE needs glibc of Debian 12 or later and libgcc_s, no shell, no package manager. The certificates that TLS trusts are
# its /etc/ssl/certs/ca-certificates.crt; without them (debian:bookworm-slim has none) every peer's authority is to be named in
# a ca_file, but for an image that is compiled here: that one takes RUST_IMAGE's.
ARG BASE_IMAGE=debian:bookworm-slim
ARG RUST_IMAGE=rust:1.95.0-bookworm

# Stages that are not wanted come last: Docker's older builder builds all that stand before the one asked for.
FROM ${BASE_IMAGE} AS runtime
# What a service keeps lies in /var/lib/stoker; nothing else is written, so the root may be read-only.
ENV HOME=/var/lib/stoker XDG_DATA_HOME=/var/lib PATH=/usr/local/bin:/usr/bin:/bin
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
ENTRYPOINT ["stoker"]
CMD ["--help"]
# Asks the services that run in the container whether they are ready, where their configuration says that they listen.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 CMD ["stoker", "health"]

# From a folder that scripts/image-tree.sh filled.
FROM runtime AS packed
# COPY makes the folder, as its owner's; WORKDIR would make it root's.
COPY --chown=10001:10001 data/ /var/lib/stoker/
WORKDIR /var/lib/stoker
COPY files/ /

# The manifests alone: as long as they stay the same, so does the layer of dependencies below.
FROM ${RUST_IMAGE} AS skeleton
WORKDIR /src
COPY . .
RUN scripts/skeleton.sh /skeleton

FROM ${RUST_IMAGE} AS build
RUN command -v jq >/dev/null || { apt-get -qq update && apt-get -qq install -y --no-install-recommends jq; }
WORKDIR /src
COPY --from=skeleton /skeleton ./
RUN cargo build --locked --release --bin stoker
COPY . .
# Cargo goes by the time of a file, and the empty sources of the skeleton are younger than the real ones.
RUN find . -name '*.rs' -exec touch {} + && cargo build --locked --release --bin stoker
RUN scripts/image-tree.sh target/release/stoker /image \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/files/etc/ssl/certs/ca-certificates.crt

FROM runtime AS stoker
COPY --from=build --chown=10001:10001 /image/data/ /var/lib/stoker/
WORKDIR /var/lib/stoker
COPY --from=build /image/files/ /
