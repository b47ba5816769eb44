# syntax=docker/dockerfile:1

# Flower alone: nothing of ours is in it, and it sees neither photographs nor results. Ranges: pyproject.toml.
FROM python:3.12-slim
RUN python -m pip install --no-cache-dir "celery>=5.5,<5.8" "flower>=2.2,<3" "redis>=5.2,<9"
ENV HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 5555
