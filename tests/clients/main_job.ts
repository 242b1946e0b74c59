// The main job, and errors that a caller has to tell apart, by a client whose types come from the OpenAPI document.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Problem = components["schemas"]["Problem"];

const client = createClient<paths>({
  baseUrl: process.env.SERVICE_URL,
  headers: { Authorization: `Bearer ${process.env.SERVICE_KEY}` },
});

function check(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

function refused(error: Problem | undefined, name: string): void {
  check(error?.type === `/problems/${name}`, `${name} expected, not ${JSON.stringify(error)}`);
}

const made = await client.POST("/v1/pools", { body: { name: "typed" } });
check(made.data?.name === "typed", "the pool is made");
refused((await client.POST("/v1/pools", { body: { name: "typed" } })).error, "pool-exists");
refused((await client.GET("/v1/pools/{pool}", { params: { path: { pool: "none" } } })).error, "pool-not-found");

const form = new FormData();
form.set("file", new Blob(["code\nTS-1\nTS-2\n"]), "codes.csv");
const uploaded = await fetch(`${process.env.SERVICE_URL}/v1/pools/typed/imports`, {
  method: "POST",
  headers: { Authorization: `Bearer ${process.env.SERVICE_KEY}`, Prefer: "wait=30" },
  body: form,
});
const done = (await uploaded.json()) as components["schemas"]["Import"];
check(done.imported === 2, "two codes are imported");

const pool = { path: { pool: "typed" } };
const key = { "Idempotency-Key": "order-1" };
const first = await client.POST("/v1/pools/{pool}/assignments", {
  params: { ...pool, header: key },
  body: { customer_id: "c-1" },
});
const again = await client.POST("/v1/pools/{pool}/assignments", {
  params: { ...pool, header: key },
  body: { customer_id: "c-1" },
});
check(first.data && again.data && first.data.code === again.data.code, "a repeat gets the same code");
const other = await client.POST("/v1/pools/{pool}/assignments", {
  params: { ...pool, header: key },
  body: { customer_id: "c-2" },
});
refused(other.error, "idempotency-key-reused");

const message = await client.POST("/v1/render", {
  body: {
    template: "{{ vouchers['typed'].assign_available() }}",
    channel: "email",
    mode: "send",
    customer_id: "c-2",
    message_id: "m-1",
  },
});
check(message.data?.rendered?.startsWith("TS-"), "the code stands in the message");
refused((await client.POST("/v1/pools/{pool}/assignments", { params: pool, body: {} })).error, "pool-exhausted");

await client.PUT("/v1/redemption-mapping", {
  body: { mappings: [{ event_type: "purchase", property: "voucher_code" }] },
});
const event = {
  event_id: "e-1",
  customer_id: "c-1",
  event_type: "purchase",
  properties: { voucher_code: first.data.code },
};
const tracked = await client.POST("/v1/events", { body: { events: [event] } });
check(tracked.data?.items[0].redemption === "redeemed", "the code is redeemed");

const counts = await client.GET("/v1/pools/{pool}/counts", { params: pool });
check(counts.data?.redeemed === 1 && counts.data.assigned === 1, "the counts add up");
console.log("the main job is done");
