"""The site for gunicorn (`application`) and for uvicorn (`asynchronous`)."""

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
asynchronous = get_asgi_application()
