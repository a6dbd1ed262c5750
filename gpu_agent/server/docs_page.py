"""``/docs``: what the server answers to, and the model's inputs; the page reads ``/openapi.json`` itself."""

_HEAD = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cog-server</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre, textarea { font: 14px/1.4 ui-monospace, monospace }
pre, textarea { background: #f4f4f4; padding: .8rem; overflow: auto; width: 100%; box-sizing: border-box }
td, th { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top }
</style>
<h1>cog-server</h1>
"""

MODEL_PAGE = (
    _HEAD
    + b"""<p>The model's <a href="openapi.json">document</a>, and its <a href="health-check">state</a>.
<h2>Inputs</h2>
<table id="inputs"><tr><td>The model is not ready.</table>
<h2>Try it</h2>
<textarea id="body" rows="8">{"input": {}}</textarea>
<p><button id="run">POST /predictions</button></p>
<pre id="answer"></pre>
<h2>Routes</h2>
<table>
<tr><td><code>GET /health-check</code><td>state, setup and its logs
<tr><td><code>POST /predictions</code><td>run; <code>Prefer: respond-async</code> or <code>wait=5</code>
answers 202, <code>Accept: text/event-stream</code> streams what an iterator yields
<tr><td><code>PUT /predictions/ID</code><td>the same under an id of yours, which may be repeated
<tr><td><code>GET /predictions/ID</code><td>look it up, also some time after its end
<tr><td><code>POST /predictions/ID/cancel</code><td>cancel it
<tr><td><code>/trainings</code><td>the same for a model that can be trained
<tr><td><code>POST /shutdown</code><td>finish what runs, then end
</table>
<script>
const at = id => document.getElementById(id)
fetch('openapi.json').then(answer => answer.json()).then(found => {
  const rows = Object.entries(found.components.schemas.Input.properties || {})
  const type = rule => rule.type || (rule.allOf ? 'one of ' + JSON.stringify(
    found.components.schemas[rule.allOf[0].$ref.split('/').pop()].enum) : 'any')
  at('inputs').replaceChildren(...rows.map(([name, rule]) => {
    const row = document.createElement('tr')
    for (const text of [name, type(rule) + (rule.format ? ' (' + rule.format + ')' : ''),
      'default' in rule ? 'default ' + JSON.stringify(rule.default) : '', rule.description || ''])
      row.appendChild(document.createElement('td')).textContent = text
    return row
  }))
  const required = found.components.schemas.Input.required || []
  const example = Object.fromEntries(required.map(name => [name, '']))
  at('body').value = JSON.stringify({input: example}, null, 2)
}).catch(() => {})
at('run').onclick = () => fetch('predictions', {
  method: 'POST', headers: {'Content-Type': 'application/json'}, body: at('body').value
}).then(answer => answer.json()).then(found => { at('answer').textContent = JSON.stringify(found, null, 2) })
</script>
"""
)

PROCEDURES_PAGE = (
    _HEAD
    + b"""<p>Runs procedures: predictors whose sources requests name. Which are set up now:
<a href="health-check">health-check</a>.
<h2>Try it</h2>
<textarea id="body" rows="8">{"input": {},
 "context": {"procedure_source_url": "file:///folder/of/a/predictor"}}</textarea>
<p><button id="run">POST /procedures</button></p>
<pre id="answer"></pre>
<h2>Routes</h2>
<table>
<tr><td><code>POST /procedures</code><td>run; <code>Prefer: respond-async</code> or <code>wait=5</code>
answers 202, <code>Accept: text/event-stream</code> streams what an iterator yields
<tr><td><code>PUT /procedures/ID</code><td>the same under an id of yours, which may be repeated
<tr><td><code>GET /procedures/ID</code><td>look it up, also some time after its end
<tr><td><code>POST /procedures/ID/cancel</code><td>cancel it
<tr><td><code>GET /openapi.json?source=URL</code><td>the document of a procedure that is set up
<tr><td><code>POST /shutdown</code><td>finish what runs, then end
</table>
<script>
const at = id => document.getElementById(id)
at('run').onclick = () => fetch('procedures', {
  method: 'POST', headers: {'Content-Type': 'application/json'}, body: at('body').value
}).then(answer => answer.json()).then(found => { at('answer').textContent = JSON.stringify(found, null, 2) })
</script>
"""
)
