# A node of Duologue. Two stages: wheels by hash, then the same slim base without pip's leftovers or any compiler.
#
#   docker build -t duologue .
#   docker run --read-only --tmpfs /tmp -v duologue:/data -p 8000:8000 \
#       -e API_KEYS=… -e TOKEN_SECRETS=… duologue
#
# The base is named by tag: pin it by the digest that your registry shows you when you build for production.

ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS wheels
COPY requirements/run.txt /tmp/run.txt
# Nothing is built here: a package without a wheel or with another hash stops the build.
RUN python -m venv --without-pip /venv \
 && python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --no-compile \
        --require-hashes --only-binary :all: -r /tmp/run.txt \
 && /venv/bin/python -m compileall -q /venv/lib

FROM ${BASE}
LABEL org.opencontainers.image.title="Duologue" \
      org.opencontainers.image.description="Realtime chat, presence and call server" \
      org.opencontainers.image.licenses="Apache-2.0"

# A fixed number, so that Kubernetes' runAsNonRoot and the owner of a mounted volume can name it.
RUN groupadd --system --gid 10001 duologue \
 && useradd --system --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin duologue \
 && install --directory --owner=10001 --group=10001 --mode=0700 /data

COPY --from=wheels /venv /venv
WORKDIR /app
# Root owns the code: a node can read and run it, not change it. What is copied is listed in .dockerignore.
COPY . .
RUN /venv/bin/python -m compileall -q /app

ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATABASE_URL=sqlite:/data/duologue.sqlite3

USER 10001:10001
VOLUME /data
EXPOSE 8000
# SIGTERM starts the graceful end: give it the drain time (docker stop --time).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/healthz\", timeout=2)"]
ENTRYPOINT ["python", "-m", "server"]
