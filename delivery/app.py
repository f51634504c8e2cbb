"""The Celery app: the workers' composition root. Celery carries wake-ups and the schedule, never a payload.

    celery -A delivery.app worker --pool threads --concurrency 32 --without-gossip --without-mingle -Q delivery
    celery -A delivery.app beat --pidfile=

One process per worker (the threads only wait for the drainer), so a killed worker leaves no children. Losing the
broker, or every message in it, delays nothing by more than one due-scan.
"""

import logging
import os
import warnings
from typing import Any

import django
from celery import Celery, signals
from celery.platforms import SecurityWarning
from celery.schedules import crontab

from delivery import settings as delivery_settings
from delivery.settings import ASYNC
from relay_contract import logs
from relay_contract.env import ConfigurationError
from relay_contract.messages import QUEUE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relay_admin.settings")
try:
    settings = delivery_settings.read(os.environ)
except ConfigurationError as mistakes:
    raise SystemExit(str(mistakes)) from None  # Celery would wrap it in a traceback
django.setup()
# Celery warns of root because a broker's messages may be pickles, which run as code. Ours are JSON (`accept_content`)
# with a number in them. compose.yaml's workers are not root; `make run` in a container often is.
warnings.filterwarnings("ignore", category=SecurityWarning, message="You're running the worker with superuser")

from delivery.resident import Resident  # noqa: E402 (reads Django's models)

resident = Resident(settings)

app = Celery("relay")
app.conf.update(
    broker_url=settings.redis_url,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # for ever: what is due is delivered meanwhile
    broker_transport_options={
        "visibility_timeout": 600,
        "unacked_restore_throttle": 1,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "socket_connect_timeout": 5,
    },
    task_default_queue=QUEUE,
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    result_backend=None,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=True,  # of ours none: they acknowledge when they begin
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_enable_remote_control=True,
    worker_send_task_events=False,
    imports=("delivery.tasks",),
    enable_utc=True,
    timezone="UTC",
    # In memory: a file would have to live somewhere, and what is scheduled goes by the clock on the wall.
    beat_scheduler="celery.beat:Scheduler",
    beat_schedule={
        "schedule.heard": {
            "task": "schedule.heard",
            "schedule": 10.0,
            "options": {"expires": 10},
        },
        "deliveries.retention": {
            "task": "deliveries.retention",
            "schedule": crontab(minute=17),
            "options": {"expires": 3000},
        },
        "deliveries.partitions": {
            "task": "deliveries.partitions",
            "schedule": crontab(minute=7),
            "options": {"expires": 3000},
        },
        "catalog.scheduled": {
            "task": "catalog.scheduled",
            "schedule": 30.0,
            "options": {"expires": 30},
        },
        "traffic.retention": {
            "task": "traffic.retention",
            "schedule": crontab(minute=37),
            "options": {"expires": 3000},
        },
        "audit.retention": {
            "task": "audit.retention",
            "schedule": crontab(minute=47),
            "options": {"expires": 3000},
        },
        "ledger.invoices": {
            "task": "ledger.invoices",
            "schedule": crontab(hour="2", minute=27),
            "options": {"expires": 3000},
        },
        "ledger.low_balances": {
            "task": "ledger.low_balances",
            "schedule": 60.0,
            "options": {"expires": 60},
        },
        "ledger.reconcile": {
            "task": "ledger.reconcile",
            "schedule": crontab(hour=3, minute=23),
            "options": {"expires": 3000},
        },
        "access.sessions": {
            "task": "access.sessions",
            "schedule": crontab(minute=57),
            "options": {"expires": 3000},
        },
        "access.mails": {
            "task": "access.mails",
            "schedule": 5.0,
            "options": {"expires": 5},
        },
        "access.keys": {
            "task": "access.keys",
            "schedule": crontab(minute="12"),
            "options": {"expires": 3000},
        },
        "access.tokens": {
            "task": "access.tokens",
            "schedule": crontab(minute=27),
            "options": {"expires": 3000},
        },
    },
)


def _configure_logs(**_: Any) -> None:
    logs.configure(settings.log_level, "delivery")
    for name in ("celery.app.trace", "celery.worker.strategy"):  # two lines for each wake-up
        logging.getLogger(name).setLevel(logging.WARNING)


def _choose_queues(instance: Any, **_: Any) -> None:
    """A process of other lanes hears of no wake-up, and takes none from those that would drain for it."""
    if ASYNC not in settings.lanes:
        instance.app.amqp.queues.deselect(QUEUE)


def _start(**_: Any) -> None:
    """Before Celery says that the worker is ready: whoever replaces another one ends that next."""
    resident.start()
    resident.wait()


def _stop(**_: Any) -> None:
    resident.stop()


def _join(**_: Any) -> None:
    resident.join()


signals.setup_logging.connect(_configure_logs)
signals.celeryd_after_setup.connect(_choose_queues)
signals.worker_ready.connect(_start)
signals.worker_shutting_down.connect(_stop)
signals.worker_shutdown.connect(_join)
