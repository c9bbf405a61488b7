# Build:  docker build -t braincli .            (GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128)
# Run:    docker run --rm --network none --read-only --tmpfs /tmp --user "$(id -u):$(id -g)" \
#             -v "$PWD:/data" braincli detect --model tsgm sub01/ -o out/
FROM python:3.11-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY . .
RUN python -m venv /opt/braincli \
    && /opt/braincli/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt ".[dicom]"

FROM python:3.11-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="braincli" \
      org.opencontainers.image.description="Pseudo-healthy restoration, anomaly maps and lesion masks from raw brain MRI. Research use only." \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/braincli/braincli"
COPY --from=build /opt/braincli /opt/braincli
# Any user id may run this: home is as open to others as to its owner; nothing is downloaded at run time.
RUN useradd --uid 1000 --create-home --home-dir /home/braincli braincli && chmod -R go=u /home/braincli
ENV PATH="/opt/braincli/bin:$PATH" HOME=/home/braincli MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 BRAINCLI_OFFLINE=1
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["braincli"]
CMD ["--help"]
