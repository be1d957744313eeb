"""A person's own shelf, served by the event loop."""

from django.http import HttpResponseForbidden, JsonResponse
from django.shortcuts import aget_object_or_404
from django.views.decorators.http import require_POST

from .models import Reading


async def shelf(request):
    user = await request.auser()
    if not user.is_authenticated:
        return HttpResponseForbidden()
    readings = Reading.objects.filter(owner=user)
    return JsonResponse({"pages": [reading.page async for reading in readings]})


@require_POST
async def turn(request, pk):
    user = await request.auser()
    if not user.is_authenticated:
        return HttpResponseForbidden()
    reading = await aget_object_or_404(Reading, pk=pk, owner=user)
    reading.page += 1
    await reading.asave()
    return JsonResponse({"page": reading.page})
