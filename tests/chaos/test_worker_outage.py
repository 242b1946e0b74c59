"""A worker of its own outlives its database; imports go on, by it or by the service's own."""

import subprocess
import sys

from tests.service import Service
from tests.worker import eventually


async def test_a_separate_worker_outlives_a_restart_of_its_database():
    with Service(workers=1) as service:
        environment = {**service.environment, "DATABASE_URL": service.database_url}
        command = [sys.executable, "-m", "app.cli", "worker", "--health-port", "0"]
        said = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        with subprocess.Popen(command, env=environment, **said) as worker:  # noqa: ASYNC220  (it starts at once)
            try:
                health = worker.stdout.readline().removeprefix("Health: ").replace("/live", "/ready").strip()
                async with service.client() as client:

                    async def is_ready():
                        return (await client.get(health)).status_code == 200

                    async def imported(pool):
                        reply = await client.post(
                            f"/v1/pools/{pool}/imports",
                            json={"source": {"type": "text", "text": f"code\n{pool}-1\n"}},
                        )
                        if reply.status_code != 202:
                            return False
                        at = f"/v1/imports/{reply.json()['id']}"

                        async def done():
                            reply = await client.get(at)
                            return reply.status_code == 200 and reply.json()["status"] == "succeeded"

                        return await eventually(done)

                    assert await imported("before")
                    assert await eventually(is_ready)
                    metrics = health.replace("/health/ready", "/metrics")
                    assert "vouchers_imports_total" in (await client.get(metrics)).text
                    for process in service.postgres():
                        process.kill()
                    assert await eventually(lambda: imported("after"), 40)
                    assert await eventually(is_ready)
                    assert worker.poll() is None
            finally:
                worker.terminate()
                assert worker.wait(20) == 0
