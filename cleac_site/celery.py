"""Door 2: jobs and the timetable.

A task message only wakes somebody up: the work itself is a row in the database, so a lost, doubled or late message harms nothing (D7).
"""

from __future__ import annotations

import os

from celery import Celery
from celery.schedules import crontab

from cleac_site import memory

memory.keep_off_the_disk()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cleac_site.settings")

from django.conf import settings  # noqa: E402 - reason: the settings module must be named first

app = Celery("cleac")
app.conf.update(
    broker_url=settings.CLEAC.redis_url,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 600},
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_time_limit=300,
    task_soft_time_limit=240,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    beat_schedule_filename=str(settings.CLEAC.data / "timetable"),
    beat_schedule={
        "sweep-outbox": {"task": "tenants.sweep_outbox", "schedule": 30.0},
        "forget-ended-sessions": {"task": "tenants.forget_ended_sessions", "schedule": 3600.0},
        "forget-staff-invitations": {"task": "tenants.forget_staff_invitations", "schedule": 3600.0},
        "sweep-calls": {"task": "calls.sweep", "schedule": 15.0},
        "sweep-recordings": {"task": "recordings.sweep", "schedule": 15.0},
        "purge": {"task": "compliance.purge", "schedule": 3600.0},
        "prove": {"task": "compliance.prove", "schedule": crontab(hour=3, minute=20)},
        "sweep-requests": {"task": "compliance.sweep_requests", "schedule": 60.0},
    },
    timezone="UTC",
)
app.autodiscover_tasks(["tenants", "consent", "calls", "recordings", "compliance"])
