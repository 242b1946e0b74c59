# Runs as non-root on a read-only file system; what is fetched or exported lies in /tmp for the time.
# PostgreSQL is outside: docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges -e DATABASE_URL=postgresql://… -e VOUCHERS_BOOTSTRAP_KEY=… -p 8000:8000 voucher-pools
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements requirements
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir -r requirements/build.txt \
    && python -m venv /opt/vouchers && /opt/vouchers/bin/pip install --no-cache-dir -r requirements/service.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/vouchers/bin/pip install --no-cache-dir --no-deps --no-index /dist/*.whl && /opt/vouchers/bin/pip check

FROM python:3.11-slim
RUN useradd --system --no-create-home --uid 10001 vouchers
COPY --from=build /opt/vouchers /opt/vouchers
ENV PATH=/opt/vouchers/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 VOUCHERS_HOME=/tmp/vouchers
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:8000/health/ready', timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["vouchers", "serve", "--host", "0.0.0.0", "--workers", "2"]
