# One image for control, edge, worker and schedule; compose.yaml says which of them a container runs.
FROM python:3.11-slim AS packages
COPY requirements.txt .
RUN python -m venv /opt/relay && /opt/relay/bin/pip install --no-cache-dir --require-hashes -r requirements.txt

FROM python:3.11-slim
ENV PATH=/opt/relay/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin relay \
    && install -d -o relay -g relay /var/lib/relay
COPY --from=packages /opt/relay /opt/relay
WORKDIR /srv/relay
COPY . .
USER relay
VOLUME /var/lib/relay
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
CMD ["python", "-m", "relay_edge"]
