#!/bin/sh
# A suite without a browser, in milliseconds: one test, whether the backend answers what answer.txt says.
exec 3>"$E2E_EVENTS"
case='"id":"one","title":"api.spec.ts › the backend answers","file":"api.spec.ts","line":1'
wanted=$(cat answer.txt)
printf '%s\n' '{"event":"begin","total":1,"whole":true}' "{\"event\":\"planned\",$case}" "{\"event\":\"test-begin\",$case}" >&3
status=failed
curl -sf "$BASE_URL/health" | grep -qF "$wanted" && status=passed
printf '%s\n' "{\"event\":\"test-end\",$case,\"status\":\"$status\",\"duration\":0.1,\"retry\":0,\"error\":\"\"}" '{"event":"end"}' >&3
[ "$status" = passed ]
