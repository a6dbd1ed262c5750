// Reads the stream of a prediction with the official client of npm, and prints what it had as JSON lines.
// Arguments: base URL, token, model, input as JSON.
const Replicate = require("replicate");

const [baseUrl, auth, model, input] = process.argv.slice(2);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

(async () => {
  const replicate = new Replicate({ baseUrl, auth });
  try {
    for await (const { event, id, data } of replicate.stream(model, { input: JSON.parse(input) })) {
      const file = typeof data !== "string";
      say({ event, id, file, data: file ? await (await data.blob()).text() : data });
    }
    say({ ended: true });
  } catch (error) {
    say({ ended: false, error: String(error) });
  }
})();
