# docker build -t mien . && docker run --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 -e MIEN_TOKEN=… mien
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/mien && /opt/mien/bin/pip install --no-cache-dir '.[serve]'

FROM python:3.12-slim
COPY --from=build /opt/mien /opt/mien
RUN useradd --system --no-create-home mien
USER mien
ENV PATH=/opt/mien/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
# A token is asked for (MIEN_TOKEN), because a container listens beyond itself.
CMD ["mien", "serve", "--host", "0.0.0.0"]
