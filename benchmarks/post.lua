-- wrk script: POST /v1/predictions, Prefer: wait, and count what came back.
-- Arguments after "--": the token, how many models there are, and what a good body contains (plain text).

local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   local token, models = args[1], tonumber(args[2])
   expected = args[3]
   good, bad, sample = 0, 0, ""
   requests, turn = {}, 0
   local headers = {
      ["Authorization"] = "Bearer " .. token,
      ["Content-Type"] = "application/json",
      ["Prefer"] = "wait",
   }
   for number = 0, models - 1 do
      -- Ends with a newline, which is how trivial.py tells requests apart.
      local body = string.format(
         '{"version":"bench/model-%03d","input":{"prompt":"a lighthouse at the end of the pier","steps":4}}\n',
         number
      )
      requests[number + 1] = wrk.format("POST", "/v1/predictions", headers, body)
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

function response(status, headers, body)
   if status == 201 and string.find(body, expected, 1, true) then
      good = good + 1
   else
      bad = bad + 1
      if sample == "" then
         sample = status .. " " .. string.sub(body, 1, 300)
      end
   end
end

function done(summary, latency, requests)
   local good, bad, sample = 0, 0, ""
   for _, thread in ipairs(threads) do
      good = good + thread:get("good")
      bad = bad + thread:get("bad")
      if sample == "" then
         sample = thread:get("sample")
      end
   end
   local errors = summary.errors
   io.stderr:write(string.format(
      '{"good":%d,"bad":%d,"socket_errors":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"sample":"%s"}\n',
      good, bad, errors.connect + errors.read + errors.write + errors.timeout, summary.duration,
      latency:percentile(50), latency:percentile(99),
      (string.gsub(string.gsub(sample, "[%c]", " "), '["\\]', "'"))
   ))
end
