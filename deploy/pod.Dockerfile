# The pre-built image of a rented pod: packages of the trainer's lock are in it, so that a pod only fetches the trainer.
#
#   docker build -f deploy/pod.Dockerfile -t <registry>/stoker-pod:<version> .
#
# A pod script of another lock does not use these packages: it installs its own, and says so in its log.
ARG BASE=nvidia/cuda:12.8.1-base-ubuntu24.04
FROM ${BASE}

ARG UV_VERSION=0.13.9
ENV DEBIAN_FRONTEND=noninteractive \
    PIP_BREAK_SYSTEM_PACKAGES=1 \
    UV_LINK_MODE=copy \
    PYTHONUNBUFFERED=1

# What the pod script calls: bash, coreutils, gzip, curl, awk; certificates for HTTPS; a compiler for Triton's kernels.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bash ca-certificates curl gawk gcc gzip libc6-dev python3 \
        python3-dev python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m pip install --no-cache-dir "uv==${UV_VERSION}"

COPY services/deployer/src/stoker_deployer/pods/trainer.lock /usr/local/share/stoker/trainer.lock

# Bytecode by uv, which passes over what a package ships for a newer Python: compileall would fail on it.
RUN uv venv --python python3 /usr/local/lib/stoker \
    && uv pip install --no-cache --compile-bytecode --python /usr/local/lib/stoker/bin/python \
        --requirement /usr/local/share/stoker/trainer.lock

# Where the pod script looks: SHA-256 of the lock, then the Python that has its packages.
RUN sha256sum /usr/local/share/stoker/trainer.lock | cut -d " " -f 1 >/usr/local/share/stoker/pod-image \
    && echo /usr/local/lib/stoker/bin/python >>/usr/local/share/stoker/pod-image

# The provider starts the pod script; by itself the image does nothing that costs a GPU's time.
CMD ["bash", "-c", "cat /usr/local/share/stoker/pod-image"]
