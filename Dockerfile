# The image of Driftless. The base images are arguments, so that a mirror or a hardened base can stand in:
#   docker build -t driftless --build-arg RUNTIME_IMAGE=registry.example/debian:bookworm-slim .
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin driftless && cp target/release/driftless /driftless

# git fetches, ssh is how it reaches git@ URLs, and the certificates are for https:// and registries.
FROM ${RUNTIME_IMAGE} AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 driftless \
    && useradd --uid 10001 --gid 10001 --create-home --home-dir /var/lib/driftless --shell /usr/sbin/nologin driftless \
    && mkdir -p /etc/driftless
# Inherited by the last stage, which only copies and sets the user.
ENV HOME=/var/lib/driftless DRIFTLESS_STATE=/var/lib/driftless/state
WORKDIR /var/lib/driftless
ENTRYPOINT ["/usr/local/bin/driftless"]
CMD ["serve"]

FROM base
COPY --from=build /driftless /usr/local/bin/driftless
USER 10001:10001
