"""Tries everything that the open ports of a Ray session offer, as a stranger who has no token."""

import http.client
import importlib
import pkgutil
from concurrent.futures import ThreadPoolExecutor

import grpc
import ray.core.generated

HTTP_PATHS = (
    ("GET", "/"), ("GET", "/api/version"), ("POST", "/api/jobs/"), ("POST", "/api/job_agent/jobs/"),
    ("GET", "/logs/"), ("POST", "/get_or_create_runtime_env"), ("POST", "/delete_runtime_env_if_possible"),
    ("GET", "/get_runtime_envs_info"), ("POST", "/api/local_raylet_healthz"), ("GET", "/metrics"),
)  # fmt: skip
GREETING = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"
"""A method without effects, for those who have a token."""
OBJECT_MANAGER = [f"/ray.rpc.ObjectManagerService/{name}" for name in ("Push", "Pull")]
"""The methods of the only service that Ray does not describe to Python."""
TIMEOUT = 20.0  # seconds; a busy machine answers slowly


def grpc_methods():
    """Returns the path of every gRPC method that Ray defines."""
    paths = list(OBJECT_MANAGER)
    for module in pkgutil.walk_packages(ray.core.generated.__path__, "ray.core.generated."):
        if not module.name.endswith("_pb2"):
            continue
        file = importlib.import_module(module.name).DESCRIPTOR
        for service in file.services_by_name.values():
            paths += [f"/{service.full_name}/{method.name}" for method in service.methods]
    return paths


def call_grpc(address, token=None):
    """Returns the status code of each gRPC method of a port for an empty request; by default without a token."""
    metadata = [("authorization", f"Bearer {token}")] if token else []

    def status(path):
        call = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
        try:
            call(b"", timeout=TIMEOUT, metadata=metadata)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(8) as pool:
        paths = [GREETING] if token else grpc_methods()
        return dict(zip(paths, pool.map(status, paths), strict=True))


def speaks_http(address):
    """Whether a server answers to HTTP/1."""
    return request(address, "GET", "/") is not None


def request(address, method, path):
    """Returns the status of an HTTP request without a token, or None if the server does not speak HTTP."""
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
    try:
        connection.request(method, path, body="{}", headers={"Content-Type": "application/json"})
        return connection.getresponse().status
    except (http.client.HTTPException, OSError):
        return None
    finally:
        connection.close()


def call_http(address):
    """Returns the status of each HTTP request without a token."""
    return {f"{method} {path}": request(address, method, path) for method, path in HTTP_PATHS}
