# Two images from one file, docs/containers.md says which to take:
#
#   docker build .                  everything, with the embedded warehouse: `sluice run`, `sluice warehouse`
#   docker build --target parts .   the parts beside a ClickHouse of your own: gateway, worker, setup
#
# Only what requirements.lock names by hash is installed, and nothing by the system's package manager. An
# index or a certificate of your own comes as a secret, which no layer keeps:
#
#   docker build --secret id=pip_conf,src=pip.conf --secret id=pip_ca,src=ca.pem .

ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
# pip stays out of what is shipped: one environment installs into the other.
COPY requirements.lock ops/image/dependencies.sh /src/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=pip_ca \
    python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/sluice \
 && /opt/build/bin/pip --python /opt/sluice/bin/python install \
      --quiet --no-deps --require-hashes --only-binary :all: --requirement /src/requirements.lock \
 && sh /src/dependencies.sh
COPY pyproject.toml README.md LICENSE /src/
COPY sluice /src/sluice
COPY gateway /src/gateway
COPY worker /src/worker
COPY ops/image /src/image
RUN sh /src/image/sluice.sh

FROM ${PYTHON_IMAGE} AS parts
RUN groupadd --gid 10001 sluice \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home \
      --home-dir /var/lib/sluice --shell /usr/sbin/nologin sluice \
 && install --directory --mode 0700 --owner 10001 --group 10001 /var/lib/sluice /var/lib/sluice-files /etc/sluice
COPY --from=build /opt/sluice /opt/sluice
# In a container loopback is nobody's address but its own, so the parts listen on all of them.
ENV PATH=/opt/sluice/bin:$PATH \
    HOME=/var/lib/sluice \
    PYTHONDONTWRITEBYTECODE=1 \
    SLUICE_DATA_DIR=/var/lib/sluice \
    SLUICE_HOST=0.0.0.0
WORKDIR /var/lib/sluice
VOLUME /var/lib/sluice
USER 10001:10001
EXPOSE 8080 8082
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["sluice-healthcheck"]
ENTRYPOINT ["sluice"]
CMD ["gateway"]
ARG VERSION=unknown
ARG REVISION=unknown
ENV SLUICE_REVISION=${REVISION}
LABEL org.opencontainers.image.title="sluice" \
      org.opencontainers.image.description="An event-ingestion gateway that you run yourself: every 202 is a promise." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM parts AS sluice
COPY --from=build /opt/embedded /opt/sluice/embedded
CMD ["run"]
