// The cases of npm's `replicate` 1.4.0. Run as a program; it does what `cases.py` does in Python.

const assert = require("node:assert/strict");
const fs = require("node:fs");
const http = require("node:http");
const Replicate = require("replicate");
const { validateWebhook } = Replicate;

const WORLD = JSON.parse(process.argv[2]);
const ONLY = process.argv.slice(3);
const URL_V1 = `${WORLD.url}/v1`;
const [ECHO, STORY, OWNER] = ["test/echo", "demo/storyteller", "default"];
const TALE = { prompt: "a test", words: 80, pace: "instant" };
const replicate = new Replicate({ baseUrl: URL_V1, auth: WORLD.token });
const cases = new Map();

function test(name, run) {
  assert(!cases.has(name), name);
  cases.set(name, run);
}

function once(make) {
  let made;
  return () => (made ??= make());
}

async function until(look, what) {
  const end = Date.now() + 30_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert(Date.now() < end, `after 30 s still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function all(endpoint) {
  const found = [];
  for await (const page of replicate.paginate(endpoint)) found.push(...page);
  return found;
}

async function words(events) {
  let text = "";
  for await (const event of events) if (event.event === "output") text += event.data;
  return text.split(/\s+/);
}

const missing = (error) => error.response.status === 404;
const create = (input, more = {}) => replicate.predictions.create({ model: ECHO, input, ...more });
const wait = (prediction) => replicate.wait(prediction, { interval: 20 });
const ended = once(async () => wait(await create({ text: "ended" })));
const model = once(() =>
  replicate.models.create("test", "made-javascript", {
    visibility: "private",
    hardware: "cpu",
    description: "a quagga crossing",
  }),
);
const released = { model: ECHO, version: WORLD.echo, hardware: "cpu", min_instances: 0, max_instances: 1 };
const deployment = once(() => replicate.deployments.create({ name: "by-javascript", ...released }));
const file = once(() =>
  replicate.files.create(new File(["by javascript"], "a.txt", { type: "text/plain" }), { k: "v" }),
);
const train = async (input) => {
  const destination = `test/${(await model()).name}`;
  return replicate.trainings.create("test", "echo", WORLD.echo, { destination, input });
};
const trainingEnded = (id) =>
  until(async () => {
    const found = await replicate.trainings.get(id);
    return found.completed_at ? found : null;
  }, "it is trained");
const trained = once(async () => trainingEnded((await train({ steps: 3 })).id));

// --- predictions ------------------------------------------------------------------------------------------

test("run", async () => {
  assert.equal(await replicate.run(ECHO, { input: { text: "hello" } }), "hello");
  assert.equal(await replicate.run(`${ECHO}:${WORLD.echo}`, { input: { text: "hello" } }), "hello");
  const seen = [];
  const poll = { mode: "poll", interval: 20 };
  const output = await replicate.run(ECHO, { input: { text: "polled" }, wait: poll }, (it) =>
    seen.push(it.status),
  );
  assert.equal(output, "polled");
  assert.equal(seen.at(-1), "succeeded");
});

test("run, aborted", async () => {
  const abort = new AbortController();
  let id;
  const input = { seconds: 30 };
  await replicate.run(ECHO, { input, wait: { mode: "poll", interval: 20 }, signal: abort.signal }, (it) => {
    id = it.id;
    setTimeout(() => abort.abort(), 50);
  }).catch((error) => assert.match(String(error), /abort/i));
  await replicate.predictions.cancel(id);
  await until(async () => (await replicate.predictions.get(id)).status === "canceled", "it is canceled");
});

test("stream", async () => {
  const events = [];
  for await (const event of replicate.stream(STORY, { input: TALE })) events.push(event);
  assert.equal(events.at(-1).event, "done");
  assert(events.every((event) => event.id));
  assert((await words(events)).length > 10);
});

test("predictions.create(version)", async () => {
  const made = await replicate.predictions.create({ version: WORLD.echo, input: { text: "x" } });
  assert.equal(made.version, WORLD.echo);
  assert(["starting", "processing"].includes(made.status));
  const waited = await replicate.predictions.create({
    version: `${ECHO}:${WORLD.echo}`,
    input: { text: "x" },
    wait: true,
  });
  assert.deepEqual([waited.status, waited.output], ["succeeded", "x"]);
});

test("predictions.create(model)", async () => {
  assert.equal((await create({ text: "x" })).model, ECHO);
});

test("deployments.predictions.create", async () => {
  const made = await replicate.deployments.predictions.create(OWNER, (await deployment()).name, {
    input: { text: "x" },
  });
  assert.equal((await wait(made)).output, "x");
});

test("predictions.get", async () => {
  const found = await replicate.predictions.get((await ended()).id);
  assert.deepEqual([found.status, found.output, found.error], ["succeeded", "ended", null]);
  assert.match(found.logs, /thinking/);
});

test("predictions.wait", async () => {
  assert.equal((await wait(await create({ text: "x" }))).status, "succeeded");
});

test("predictions.cancel", async () => {
  const made = await create({ seconds: 30 });
  assert.equal((await replicate.predictions.cancel(made.id)).id, made.id);
  assert.equal((await wait(made)).status, "canceled");
  assert.equal((await replicate.predictions.cancel((await ended()).id)).status, "succeeded");
});

test("predictions.list", async () => {
  const made = await create({ text: "listed" });
  assert((await replicate.predictions.list()).results.some((one) => one.id === made.id));
});

test("paginate", async () => {
  const made = await Promise.all(Array.from({ length: 7 }, () => create({ text: "listed" })));
  const found = (await all(replicate.predictions.list)).map((one) => one.id);
  for (const one of made) assert(found.includes(one.id));
  assert.equal(new Set(found).size, found.length);
});

// --- trainings --------------------------------------------------------------------------------------------

test("trainings.create", async () => {
  const made = await train({ steps: 1 });
  assert.deepEqual([made.model, made.version, made.status], [ECHO, WORLD.echo, "starting"]);
  const more = { destination: "test/nothing", input: { steps: 1 } };
  await assert.rejects(replicate.trainings.create("test", "echo", WORLD.echo, more), missing);
  await assert.rejects(train({ steps: 0 }), (error) => error.response.status === 422);
});

test("trainings.get", async () => {
  const found = await replicate.trainings.get((await trained()).id);
  assert.deepEqual([found.status, found.logs], ["succeeded", "training 3 steps\n"]);
  assert(found.output.version.startsWith("test/made-javascript:"));
  assert.equal(await (await fetch(found.output.weights)).text(), "www");
});

test("run, trained", async () => {
  const { version } = (await trained()).output;
  assert.equal(await replicate.run(version, { input: { text: "it says " } }), "it says www");
});

test("trainings.list", async () => {
  const made = [await trained()];
  for (let count = 0; count < 6; count += 1) made.push(await train({ steps: 1 }));
  const found = (await all(replicate.trainings.list)).map((one) => one.id);
  for (const one of made) assert(found.includes(one.id));
  assert.equal(new Set(found).size, found.length);
});

test("trainings.cancel", async () => {
  const made = await train({ seconds: 30 });
  assert.equal((await replicate.trainings.cancel(made.id)).id, made.id);
  assert.equal((await trainingEnded(made.id)).status, "canceled");
  assert.equal((await replicate.trainings.cancel((await trained()).id)).status, "succeeded");
});

// --- files ------------------------------------------------------------------------------------------------

test("files.create", async () => {
  const { name, size, content_type, metadata } = await file();
  assert.deepEqual([name, size, content_type, metadata], ["a.txt", 13, "text/plain", { k: "v" }]);
});

test("files.get", async () => {
  assert.equal((await replicate.files.get((await file()).id)).checksums.sha256.length, 64);
});

test("files.list", async () => {
  const made = await replicate.files.create(Buffer.from("newest"));
  assert((await replicate.files.list()).results.some((one) => one.id === made.id));
});

test("files.delete", async () => {
  const made = await replicate.files.create(new Blob(["away"]));
  assert.equal(await replicate.files.delete(made.id), true);
  await assert.rejects(replicate.files.get(made.id), missing);
});

test("inputs: a file", async () => {
  const named = new File(["from a file"], "b.txt", { type: "text/plain" });
  assert.equal(await replicate.run(ECHO, { input: { file: named } }), "from a file");
  assert.equal(await replicate.run(ECHO, { input: { file: Buffer.from("from memory") } }), "from memory");
});

test("inputs: a data URI", async () => {
  const uri = `data:text/plain;base64,${Buffer.from("in base64").toString("base64")}`;
  assert.equal(await replicate.run(ECHO, { input: { file: uri } }), "in base64");
});

test("output files", async () => {
  const image = new Blob([fs.readFileSync(WORLD.picture)], { type: "image/png" });
  const output = await replicate.run("demo/restyle", { input: { image } });
  const blob = await output.blob();
  assert.match(blob.type, /^image\//);
  const start = Buffer.from(await blob.arrayBuffer()).subarray(0, 4);
  assert(start.equals(Buffer.from("\x89PNG", "latin1")) || start.subarray(0, 2).equals(Buffer.from([255, 216])));
});

// --- models -----------------------------------------------------------------------------------------------

test("models.create", async () => {
  const { owner, name, latest_version } = await model();
  assert.deepEqual([owner, name, latest_version], ["test", "made-javascript", null]);
});

test("models.get", async () => {
  const found = await replicate.models.get("test", "echo");
  assert.equal(found.latest_version.id, WORLD.echo);
  assert(found.latest_version.openapi_schema.components.schemas.Input);
});

test("model.default_example", async () => {
  const example = (await replicate.models.get("demo", "storyteller")).default_example;
  assert.deepEqual([example.id, example.status, example.model], [WORLD.example, "succeeded", STORY]);
  assert(example.input.prompt === "an example" && example.output.length >= 5);
});

test("models.list", async () => {
  const names = (await all(replicate.models.list)).map((one) => one.name);
  for (const name of ["echo", "storyteller", "restyle"]) assert(names.includes(name));
});

test("models.search", async () => {
  const { name } = await model();
  assert((await replicate.models.search("quagga crossing")).results.some((one) => one.name === name));
});

test("models.versions.list", async () => {
  const found = (await replicate.models.versions.list("test", "echo")).results;
  assert.deepEqual(found.map((one) => one.id), [WORLD.echo]);
});

test("models.versions.get", async () => {
  const version = await replicate.models.versions.get("test", "echo", WORLD.echo);
  assert(version.cog_version && version.openapi_schema);
});

// --- deployments ------------------------------------------------------------------------------------------

test("deployments.create", async () => {
  assert.equal((await deployment()).owner, OWNER);
});

test("deployments.get", async () => {
  const { current_release } = await replicate.deployments.get(OWNER, (await deployment()).name);
  assert.equal(current_release.model, ECHO);
  assert.equal(current_release.configuration.hardware, "cpu");
});

test("deployments.list", async () => {
  const { name } = await deployment();
  assert((await replicate.deployments.list()).results.some((one) => one.name === name));
});

test("deployments.update", async () => {
  const { current_release } = await replicate.deployments.update(OWNER, (await deployment()).name, {
    max_instances: 2,
  });
  assert.deepEqual([current_release.number, current_release.configuration.max_instances], [2, 2]);
});

test("deployments.delete", async () => {
  const { name } = await replicate.deployments.create({ name: "away-javascript", ...released });
  assert.equal(await replicate.deployments.delete(OWNER, name), true);
});

// --- the rest ---------------------------------------------------------------------------------------------

test("accounts.current", async () => {
  assert.equal((await replicate.accounts.current()).username, OWNER);
});

test("hardware.list", async () => {
  assert((await replicate.hardware.list()).some((one) => one.sku === "cpu"));
});

test("collections.list", async () => {
  assert.deepEqual((await replicate.collections.list()).results, []);
});

test("collections.get", async () => {
  await assert.rejects(replicate.collections.get("anything"), missing);
});

test("webhooks.default.secret", async () => {
  assert.match((await replicate.webhooks.default.secret.get()).key, /^whsec_/);
});

test("webhooks.validate", async () => {
  const requests = [];
  const hook = http.createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      requests.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
      response.end();
    });
  });
  await new Promise((resolve) => hook.listen(0, "127.0.0.1", resolve));
  try {
    const webhook = `http://127.0.0.1:${hook.address().port}/hook`;
    const made = await create({ text: "x" }, { webhook, webhook_events_filter: ["completed"] });
    const { headers, body } = await until(() => requests[0], "a webhook");
    assert.equal(JSON.parse(body).id, made.id);
    const { key } = await replicate.webhooks.default.secret.get();
    const request = (content) => new Request(webhook, { method: "POST", headers, body: content });
    assert.equal(await validateWebhook(request(body), key), true);
    assert.equal(await validateWebhook(request(`${body} `), key), false);
    const said = {
      id: headers["webhook-id"],
      timestamp: headers["webhook-timestamp"],
      signature: headers["webhook-signature"],
    };
    assert.equal(await validateWebhook({ ...said, body, secret: key }), true);
  } finally {
    hook.closeAllConnections();
    hook.close();
  }
});

// --- traps ------------------------------------------------------------------------------------------------

test("trap: a wait that runs out", async () => {
  const block = { mode: "block", timeout: 1 };
  const input = { text: "slow", seconds: 2.5 };
  assert.equal(await replicate.run(ECHO, { input, wait: block }), "slow");
  const made = await replicate.predictions.create({ version: WORLD.echo, input: { seconds: 2 }, wait: 1 });
  assert.equal(made.status, "starting");
});

test("trap: no nulls in urls", async () => {
  assert.deepEqual(Object.keys((await ended()).urls).sort(), ["cancel", "get", "web"]);
  const made = await replicate.predictions.create({ model: STORY, input: TALE });
  assert.deepEqual(Object.keys(made.urls).sort(), ["cancel", "get", "stream", "web"]);
});

test("trap: errors are strings", async () => {
  const made = await create({ text: "why", fail: true });
  await assert.rejects(wait(made), /failed as told: why/);
  assert.equal((await ended()).error, null);
  await assert.rejects(replicate.run(ECHO, { input: { fail: true } }), /failed as told/);
});

test("trap: a deadline before the start is canceled", async () => {
  const made = await replicate.predictions.create({ model: "test/absent", input: { text: "x" } });
  assert.equal((await wait(made)).status, "canceled");
  assert.equal(await replicate.run("test/absent", { input: { text: "x" } }), null);
});

test("trap: both base URLs", async () => {
  const other = new Replicate({ baseUrl: `${WORLD.url}/`, auth: WORLD.token });
  assert.equal(await other.run(ECHO, { input: { text: "x" } }), "x");
});

test("trap: old fields", async () => {
  const made = await create({ text: "x" }, { stream: true, webhook_completed: "https://example.org/hook" });
  assert.equal((await wait(made)).status, "succeeded");
});

test("trap: refusals", async () => {
  const stranger = new Replicate({ baseUrl: URL_V1, auth: "no" });
  const refusals = [
    [() => replicate.run(ECHO, { input: { text: "x".repeat(101), no: 1 } }), 422, /- input.text: /],
    [() => replicate.predictions.get("nothing"), 404, /could not be found/],
    [() => replicate.predictions.create({ version: "0".repeat(64), input: {} }), 422, /does not exist/],
    [() => stranger.accounts.current(), 401, /token/],
  ];
  for (const [call, status, text] of refusals)
    await assert.rejects(call, (error) => error.response.status === status && text.test(error.message));
});

test("trap: a version of any model", async () => {
  const output = await replicate.run(`${STORY}:${WORLD.story}`, { input: TALE });
  assert(output.join("").split(/\s+/).length > 10);
});

test("trap: lists stay lists", async () => {
  assert(Array.isArray(await replicate.run(STORY, { input: TALE })));
});

test("trap: created once", async () => {
  let requests = 0;
  const unreliable = (url, init) => {
    const keyed = { ...init, headers: { ...init.headers, "idempotency-key": "javascript" } };
    return fetch(url, keyed).then((response) => {
      requests += 1;
      if (requests < 3) throw new TypeError("the answer was lost");
      return response;
    });
  };
  const other = new Replicate({ baseUrl: URL_V1, auth: WORLD.token, fetch: unreliable });
  await other.predictions.create({ model: ECHO, input: { text: "once by javascript" } });
  assert.equal(requests, 3);
  const found = (await all(replicate.predictions.list)).filter((one) => one.input.text === "once by javascript");
  assert.equal(found.length, 1);
});

test("trap: too many creations", async () => {
  let answers = [];
  const seen = async (url, init) => {
    const response = await fetch(url, init);
    answers.push(response);
    return response;
  };
  const other = new Replicate({ baseUrl: URL_V1, auth: WORLD.limited.javascript, fetch: seen });
  const often = async () => {
    for (let left = 200; left > 0; left -= 1) {
      answers = [];
      await other.predictions.create({ model: ECHO, input: { text: "often" } });
    }
  };
  let seconds;
  await assert.rejects(often(), (error) => {
    seconds = Number(error.response.headers.get("retry-after"));
    return error.response.status === 429 && error.message.includes("Your rate limit resets in");
  });
  assert.deepEqual(answers.map((answer) => answer.status), Array(6).fill(429));
  assert(seconds >= 1);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  answers = [];
  assert((await other.predictions.create({ model: ECHO, input: { text: "in the end" } })).id);
  assert.deepEqual(answers.map((answer) => answer.status), [201]);
});

test("trap: a broken option of its own", async () => {
  const broken = new Replicate({ baseUrl: URL_V1, auth: WORLD.token, fileEncodingStrategy: "data-uri" });
  await assert.rejects(broken.run(ECHO, { input: { text: "x" } }), (error) => {
    return error.response.status === 422 && !error.message.includes(WORLD.token);
  });
});

(async () => {
  const found = {};
  for (const [name, run] of cases) {
    if (ONLY.length && !ONLY.includes(name)) continue;
    try {
      await run();
      found[name] = null;
    } catch (error) {
      found[name] = String(error?.stack ?? error);
    }
  }
  console.log(JSON.stringify(found));
})();
