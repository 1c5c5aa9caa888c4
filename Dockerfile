# `isometry serve` as nobody, over a root that nothing writes to:
#
#   docker build -t isometry --build-arg TORCH_INDEX_URL=... .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL -p 127.0.0.1:8000:8000 \
#     -v ./docs-space:/spaces/docs-space:ro -v ./token.txt:/run/secrets/token:ro isometry
FROM python:3.13-slim AS build
# pip's usual index has PyTorch for CUDA, some GB: name PyTorch's own index of builds for processors.
ARG TORCH_INDEX_URL=""
# What the image can do besides serving; `models` brings a small English encoder.
ARG EXTRAS="serve,models"
RUN python -m venv /opt/isometry
ENV PATH=/opt/isometry/bin:$PATH PIP_NO_CACHE_DIR=1
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install --constraint constraints.txt ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch
COPY src ./src
RUN pip install --constraint constraints.txt ".[$EXTRAS]"

FROM python:3.13-slim
COPY --from=build /opt/isometry /opt/isometry
# Nothing is looked up on a hub, and nothing is written beside the code.
ENV PATH=/opt/isometry/bin:$PATH HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 65534:65534
WORKDIR /spaces
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as request; request.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
ENTRYPOINT ["isometry"]
CMD ["serve", "docs-space", "--host", "0.0.0.0", "--token-file", "/run/secrets/token"]
