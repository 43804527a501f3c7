# One image for every role: `docker run IMAGE web|worker|timetable|media|migrate`. docs/operations.md says how they belong together.

FROM python:3.12-slim-bookworm AS builder
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
RUN python -m venv /venv
COPY requirements.lock /build/requirements.lock
RUN /venv/bin/pip install --no-cache-dir --require-hashes --requirement /build/requirements.lock
COPY calls/media/native /build/native
RUN /venv/bin/python /build/native/build.py

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin cleac \
    && mkdir --mode=700 /data && chown cleac:cleac /data
COPY --from=builder /venv /venv
WORKDIR /app
COPY manage.py ./
COPY cleac_site cleac_site
COPY tenants tenants
COPY consent consent
COPY calls calls
COPY recordings recordings
COPY compliance compliance
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CLEAC_NO_BOOTSTRAP=1 \
    CLEAC_ENV=production \
    CLEAC_DATA=/data
# Nobody may write beside the sources later, so they are compiled here, for every start. Packages were compiled when they were installed.
RUN python -m compileall -q --invalidation-mode unchecked-hash .
# The values are for this one command: what production demands, and nothing that reaches a server or stays in the image.
RUN CLEAC_PUBLIC_URL=https://build.invalid DATABASE_URL=sqlite:// CLEAC_KEYS_DATABASE_URL=sqlite:// REDIS_URL=redis://build.invalid \
    EMAIL_URL=smtp://build.invalid \
    CLEAC_SECRET_KEY=only-while-static-files-are-collected CLEAC_PIPE_KEY=only-while-static-files-are-collected \
    CLEAC_MASTER_KEY=only-while-static-files-are-collected CLEAC_DATA=/tmp \
    python manage.py collectstatic --noinput --verbosity 0
USER 10001:10001
VOLUME /data
EXPOSE 8000/tcp 40000/udp 40000/tcp
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "cleac_site.roles"]
CMD ["web"]
