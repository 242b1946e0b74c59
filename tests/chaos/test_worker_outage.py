"""A worker of its own outlives its database; imports go on, by it or by the service's own."""

import subprocess
import sys

from tests.service import Service
from tests.worker import eventually


async def test_a_separate_worker_outlives_a_restart_of_its_database():
    with Service(workers=1) as service:
        environment = {**service.environment, "DATABASE_URL": service.database_url}
        command = [sys.executable, "-m", "app.cli", "worker"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as worker:  # noqa: ASYNC220  (it starts at once)
            try:
                async with service.client() as client:

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
                    for process in service.postgres():
                        process.kill()
                    assert await eventually(lambda: imported("after"), 40)
                    assert worker.poll() is None
            finally:
                worker.terminate()
                assert worker.wait(20) == 0
