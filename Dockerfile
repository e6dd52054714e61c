# fer in a container, for a user without root rights and with the versions of the lock: docs/deploy.md, "In a container".
# PYTHON has the version that the lock is for. BASE may be another image, such as one with CUDA: it gets that Python, so
# its C library must not be older. EXTRAS are those of pyproject.toml; "predict" alone needs no PyTorch.
ARG PYTHON=python:3.11-slim-bookworm
ARG BASE=${PYTHON}

FROM ${PYTHON} AS packages
ARG EXTRAS="train predict"
ARG LOCK=lock-linux-x86_64-py3.11.txt
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_PYTHON=/opt/fer/bin/python
WORKDIR /source
RUN python3 -m venv /opt/fer && python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==0.13.9
COPY pyproject.toml ${LOCK} ./
# As in make setup, the OpenCV that needs no display comes last: several packages of it share a folder.
# hadolint ignore=SC2046
RUN /opt/uv/bin/uv pip install --require-hashes --constraints ${LOCK} --requirements pyproject.toml \
        $(printf -- ' --extra %s' ${EXTRAS}) \
    && sed -n '/^opencv-python-headless==/,/[^\\]$/p' ${LOCK} > opencv.txt \
    && /opt/uv/bin/uv pip install --reinstall --no-deps --require-hashes --requirements opencv.txt
COPY . .
RUN /opt/uv/bin/uv build --wheel --require-hashes --build-constraints ${LOCK} --out-dir /wheel \
    && /opt/uv/bin/uv pip install --no-deps /wheel/*.whl

FROM ${BASE}
# Libraries of Python and of MediaPipe.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libbz2-1.0 libegl1 libffi8 libgles2 liblzma5 \
        libreadline8 libsqlite3-0 libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 fer \
    && mkdir /work \
    && chmod 1777 /work /home/fer
COPY --from=packages /usr/local /usr/local
COPY --from=packages /opt/fer /opt/fer
RUN ldconfig
ENV PATH=/opt/fer/bin:$PATH HOME=/home/fer
USER 10001
WORKDIR /work
CMD ["fer", "--help"]
