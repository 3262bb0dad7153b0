"""What one would write with Django: a registration as the Python idiom has it, over HTTP.

`registrations.py MEMCACHED WORKERS postgres HOST PORT` or `… sqlite PATH` serves it with gunicorn on a port of its own,
and says where on a line of standard output. POST {"name", "owner"} locks the name, saves it unless it is taken, and
releases it.
"""

import json
import platform
import sys
from hashlib import md5

import django
import gunicorn
import pymemcache
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import IntegrityError, connection, models
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from gunicorn.app.base import BaseApplication

EXPIRY_SECONDS = 10

if sys.argv[1:] == ["--version"]:
    print(django.__version__, gunicorn.__version__, platform.python_version())
    sys.exit()

MEMCACHED, WORKERS, ENGINE, *PLACE = sys.argv[1:]

# With SQLite as durable as namelock has it, and with the write lock from the begin of a transaction.
SQLITE = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 10,
    "init_command": "PRAGMA journal_mode=wal; PRAGMA synchronous=FULL",
}
DATABASES = {
    "postgres": lambda host, port: {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "nobody",
        "HOST": host,
        "PORT": port,
    },
    "sqlite": lambda file: {"ENGINE": "django.db.backends.sqlite3", "NAME": file, "OPTIONS": SQLITE},
}

settings.configure(
    ALLOWED_HOSTS=["*"],
    # Connections are kept, as they are by everybody else here.
    DATABASES={"default": DATABASES[ENGINE](*PLACE) | {"CONN_MAX_AGE": None}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    # It tells the length of an answer.
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
)
django.setup()

# It connects when it is used first, in the worker, which has one thread. The others wait for memcached's answers too.
memcached = pymemcache.Client(MEMCACHED, default_noreply=False, no_delay=True)


class Room(models.Model):
    name = models.TextField(primary_key=True)
    owner = models.TextField()
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "rooms"


def register(request: HttpRequest) -> HttpResponse:
    wish = json.loads(request.body)
    name, owner = wish["name"], wish["owner"]
    key = "namelock::" + md5(name.encode()).hexdigest()
    if not memcached.add(key, 1, EXPIRY_SECONDS):
        return JsonResponse({"error": "locked"}, status=423)
    try:
        if Room.objects.filter(name=name).exists():
            return JsonResponse({"error": "taken"}, status=409)
        room = Room.objects.create(name=name, owner=owner)
    except IntegrityError:
        return JsonResponse({"error": "taken"}, status=409)
    finally:
        memcached.delete(key)
    return JsonResponse({"name": room.name, "owner": room.owner, "created": room.created}, status=201)


urlpatterns = [path("", register)]


class Server(BaseApplication):
    def load_config(self) -> None:
        self.cfg.set("bind", "127.0.0.1:0")
        self.cfg.set("workers", int(WORKERS))
        self.cfg.set("loglevel", "warning")
        self.cfg.set("when_ready", ready)

    def load(self):
        return get_wsgi_application()


def ready(server) -> None:
    host, port = server.LISTENERS[0].sock.getsockname()
    print(f"listening on http://{host}:{port}", flush=True)


with connection.schema_editor() as editor:
    editor.create_model(Room)
# Workers are forked, and each has a connection of its own.
connection.close()
Server().run()
