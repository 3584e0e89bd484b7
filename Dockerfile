# One image for every role: `pilothouse server` and `pilothouse agent`.
# Built by docker-compose.yml; needs network access to Debian's packages and crates.io.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        protobuf-compiler libprotobuf-dev nodejs npm brotli busybox-static \
    && rm -rf /var/lib/apt/lists/* \
    && rustup target add wasm32-unknown-unknown
WORKDIR /src
COPY . .
RUN scripts/build

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates containerd runc containernetworking-plugins nftables conntrack iproute2 util-linux \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/pilothouse /usr/local/bin/pilothouse
COPY --from=build /src/target/release/dashboard /usr/local/share/pilothouse/dashboard
COPY --from=build /src/target/release/images /usr/local/share/pilothouse/images
COPY scripts/container-agent /usr/local/bin/container-agent
ENTRYPOINT ["pilothouse"]
