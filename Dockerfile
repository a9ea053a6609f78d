# mtlbench with the locked versions: `make image`. For GPUs: make image BASE=<an image with CUDA>, see docs/howto/container.md.
ARG BASE=python:3.11-slim
FROM ${BASE}

# g++ is for trainer.compile=true. Images with CUDA bring no Python; Debian's and Ubuntu's own will do where it is 3.11 to 3.13.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && { command -v python3 || apt-get install --yes --no-install-recommends python3 python3-dev python3-venv; } \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/mtlbench
ENV PATH=/opt/mtlbench/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# torch alone is most of the image, so it has a layer of its own. TORCH_INDEX: an index with another build, such as for CPUs.
ARG TORCH_INDEX=
WORKDIR /src
COPY requirements.lock .
RUN pip install ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} "$(grep '^torch==' requirements.lock)"

# The lock file as constraints: its versions, without the tools for development.
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY conf conf
RUN pip install --constraint requirements.lock ".[export,parallel,slurm,tune]"

# Any user may run it, and what it writes (data, runs, tables) belongs into a folder of the host, mounted as /work.
ENV HOME=/tmp GIT_PYTHON_REFRESH=quiet
WORKDIR /work
ENTRYPOINT ["mtlbench"]
CMD ["--help"]
