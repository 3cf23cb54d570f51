# Runs `realtime serve`. CPU: docker build -t realtime .   NVIDIA GPU: docker build --build-arg EXTRAS=serve,cuda -t realtime .
FROM python:3.12-slim

ARG EXTRAS=serve

# OpenCV's windows library needs these even where no window is opened.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libxcb1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE LICENSE-WEIGHTS.md ./
COPY docs/package.md docs/package.md
COPY realtime realtime
COPY train train
COPY export export
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

RUN useradd --system --groups video realtime
USER realtime
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]

ENTRYPOINT ["realtime", "serve", "--host", "0.0.0.0"]
