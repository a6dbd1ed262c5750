#!/usr/bin/env bash
# Cogflare with nothing but curl: create and wait, poll, stream, cancel, upload a file and use it.
#
#   export REPLICATE_BASE_URL=http://127.0.0.1:8000 REPLICATE_API_TOKEN=cf_...
#   examples/clients/curl.sh
set -euo pipefail

url=${REPLICATE_BASE_URL:-http://127.0.0.1:8000}/v1
: "${REPLICATE_API_TOKEN:?set it to a token, made with: cogflare token create NAME}"

# The token goes in by a file descriptor: on the command line, everybody on this machine could read it.
api() {
  curl --silent --show-error --fail-with-body --max-time 90 \
    --header @<(printf 'Authorization: Bearer %s\n' "$REPLICATE_API_TOKEN") "$@"
}

json() { api --header "Content-Type: application/json" "$@"; }

# field NAME: the first string of that name in the JSON on stdin.
field() { grep -o "\"$1\": *\"[^\"]*\"" | sed -n "1s/.*: *\"\(.*\)\"/\1/p"; }

echo "# Create, and wait for the result in the same request"
json "$url/models/demo/storyteller/predictions" --header "Prefer: wait" \
  --data '{"input": {"prompt": "lost umbrellas", "words": 80, "pace": "instant"}}'

printf '\n\n# Create, then poll\n'
picture=$(json "$url/models/demo/landscape/predictions" \
  --data '{"input": {"hour": "moonlight", "seed": 7, "size": "640x400", "steps": 4}}')
get=$(field get <<<"$picture")
until status=$(api "$get" | field status) && [[ $status =~ succeeded|failed|canceled ]]; do
  echo "$status"
  sleep 0.3
done
echo "$status"
file=$(api "$get" | grep -o '"[^"]*landscape\.png[^"]*"' | head -n 1 | tr -d '"')
# A file's URL carries its own permission: no token is sent.
curl --silent --show-error --fail --output landscape.png "$file"
ls -l landscape.png

printf '\n# Stream\n'
stream=$(json "$url/models/demo/storyteller/predictions" \
  --data '{"input": {"prompt": "the last train", "words": 80}}' | field stream)
curl --silent --show-error --fail --no-buffer --max-time 60 --header "Accept: text/event-stream" "$stream"

printf '\n# Cancel\n'
running=$(json "$url/models/demo/storyteller/predictions" \
  --data '{"input": {"prompt": "patience", "words": 1000, "pace": "calm"}}')
api --request POST "$(field cancel <<<"$running")"
get=$(field get <<<"$running")
until status=$(api "$get" | field status) && [[ $status =~ succeeded|failed|canceled ]]; do sleep 0.3; done
printf '\n%s\n' "$status"

printf '\n# Upload a file, and give it to a model\n'
uploaded=$(api "$url/files" --form "content=@landscape.png;type=image/png" | field get)
json "$url/models/demo/restyle/predictions" --header "Prefer: wait" \
  --data "{\"input\": {\"image\": \"$uploaded\", \"style\": \"ink\"}}"
echo
