# Build:  docker build -t webhook-alert-sidecar .
# Run:    see compose.yaml; the image runs as uid 65532 with a read-only root.
ARG BASE_IMAGE=python:3.14-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/sidecar
COPY .ci/requirements.txt .ci/requirements.txt
RUN /opt/sidecar/bin/python -m pip install --require-hashes --no-compile -r .ci/requirements.txt
# The project itself is built with a pinned, hashed backend in a venv that is left behind.
COPY .ci/requirements-dev.txt .ci/requirements-dev.txt
RUN python3 -m venv /opt/build && /opt/build/bin/python -m pip install --require-hashes -r .ci/requirements-dev.txt
COPY pyproject.toml README.md LICENSE ./
COPY sidecar sidecar
COPY rules rules
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation -w /wheel . \
 && /opt/sidecar/bin/python -m pip install --no-deps --no-index --no-compile /wheel/*.whl \
 && /opt/sidecar/bin/python -m pip uninstall -y -q pip \
 && /opt/sidecar/bin/python -m compileall -q -j 0 /opt/sidecar/lib

FROM ${BASE_IMAGE}
# Of the commit it is built from: --build-arg VERSION=1.2.0 --build-arg REVISION=$(git rev-parse HEAD)
ARG BASE_IMAGE
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=https://github.com/example/webhook-alert-sidecar
LABEL org.opencontainers.image.title="webhook-alert-sidecar" \
      org.opencontainers.image.description="Tails WEBHOOK_METRIC log lines, exports Prometheus series, alerts Slack and mail" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE}/blob/main/README.md" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
COPY --from=build /opt/sidecar /opt/sidecar
COPY sidecar.yaml /etc/sidecar/sidecar.yaml
COPY rules /etc/sidecar/rules
# A fresh volume takes the owner of the folder it is mounted on.
RUN mkdir -p /var/lib/sidecar /var/log/webhook && chown 65532:65532 /var/lib/sidecar && chmod 0700 /var/lib/sidecar
ENV PATH=/opt/sidecar/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
VOLUME /var/lib/sidecar
EXPOSE 9787
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s CMD ["sidecar", "healthcheck", "-c", "/etc/sidecar/sidecar.yaml"]
ENTRYPOINT ["sidecar"]
CMD ["run", "-c", "/etc/sidecar/sidecar.yaml"]
