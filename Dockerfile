# A worker for NVIDIA GPUs: CUDA 12 comes with torch's wheels, the driver with the host.
#
#   docker build -t sqscribe .                                     with the bundled model: to see that it works
#   docker build -t sqscribe --build-arg MODEL=large-v3-turbo \
#                --build-arg MODEL_REVISION=<commit of the model's repository> .
#
#   docker run --read-only -v scratch:/scratch --gpus all -e SQSCRIBE_QUEUE_URL=… -e SQSCRIBE_OUTPUT=s3://… sqscribe

# Name the base by its digest for builds that must come out the same: --build-arg BASE=python@sha256:…
ARG BASE=python:3.11-slim-bookworm


FROM ${BASE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src

# The dependencies first, so that a change of the code does not install several gigabytes again.
COPY pyproject.toml constraints.txt ./
COPY deploy/constraints-cuda.txt deploy/
RUN python -m venv /opt/sqscribe \
    && grep -v '^torch==' constraints.txt | cat - deploy/constraints-cuda.txt > /tmp/constraints.txt \
    # `pages` brings the JavaScript runtime in which yt-dlp solves YouTube's riddles.
    && python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["pages"], sep="\n")' \
        > /tmp/requirements.txt \
    && /opt/sqscribe/bin/pip install -c /tmp/constraints.txt -r /tmp/requirements.txt \
    # The system's ffmpeg is installed below.
    && rm -f /opt/sqscribe/lib/python3.11/site-packages/imageio_ffmpeg/binaries/ffmpeg-*

# The model into the image, so that a node that starts needs no model hub. Always written: the next stage copies it.
ARG MODEL=demo
ARG MODEL_REVISION=
ENV HF_HOME=/opt/models
RUN mkdir -p /opt/models \
    && if [ "$MODEL" != demo ]; then \
        if [ -z "$MODEL_REVISION" ]; then echo 'name the MODEL_REVISION of the model, a commit' >&2; exit 1; fi; \
        /opt/sqscribe/bin/python -c 'import sys, faster_whisper; faster_whisper.download_model(sys.argv[1], revision=sys.argv[2])' \
            "$MODEL" "$MODEL_REVISION"; \
    fi

COPY README.md LICENSE THIRD_PARTY_NOTICES.md ./
COPY sqscribe sqscribe
COPY stages stages
COPY worker worker
RUN /opt/sqscribe/bin/pip install --no-deps .


FROM ${BASE}

ARG MODEL=demo
ARG MODEL_REVISION=
ARG VERSION=0.1.0

LABEL org.opencontainers.image.title="sqscribe" \
      org.opencontainers.image.description="Bulk transcription worker: SQS in, Whisper in cross-job batches, transcripts in S3 out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      io.sqscribe.model="${MODEL}" \
      io.sqscribe.model-revision="${MODEL_REVISION}"

# Debian keeps no old versions, so a pinned one breaks the build the day it is updated; the base's digest pins enough.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --home-dir /scratch --no-create-home --shell /usr/sbin/nologin sqscribe \
    && install -d -o sqscribe -g sqscribe -m 0700 /scratch

COPY --from=build /opt/models /opt/models
COPY --from=build /opt/sqscribe /opt/sqscribe

# All that is written goes to /scratch, so the root file system may be read-only. CUDA compiles kernels for GPUs newer than its
# wheels at the first use and keeps them in its cache.
# cuBLAS is found through torch as a rule; the library path makes it no matter of who is loaded first.
# To run another model than the built-in one: SQSCRIBE_MODEL, HF_HUB_OFFLINE=0 and HF_HOME=/scratch/models.
ENV PATH=/opt/sqscribe/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LD_LIBRARY_PATH=/opt/sqscribe/lib/python3.11/site-packages/nvidia/cublas/lib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HF_HOME=/opt/models \
    HF_HUB_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    ORT_DISABLE_TELEMETRY=1 \
    DO_NOT_TRACK=1 \
    YTDLP_NO_PLUGINS=1 \
    DENO_NO_UPDATE_CHECK=1 \
    TMPDIR=/scratch \
    XDG_CACHE_HOME=/scratch/.cache \
    CUDA_CACHE_PATH=/scratch/.nv \
    SQSCRIBE_SCRATCH_DIR=/scratch \
    SQSCRIBE_MODEL=${MODEL} \
    SQSCRIBE_MODEL_REVISION=${MODEL_REVISION}

USER 10001:10001
WORKDIR /scratch
VOLUME /scratch
EXPOSE 8080
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-c", "import os, urllib.request as r; p = os.environ.get('SQSCRIBE_HTTP_PORT') or '8080'; p == '0' or r.urlopen(f'http://127.0.0.1:{p}/live', timeout=5)"]

ENTRYPOINT ["/usr/bin/tini", "--", "sqscribe"]
CMD ["worker"]
