-- Health of a DeepSeekDeployment for Argo CD, from its conditions.
-- See docs/rollout.md for how to install it; a test of the operator runs this file.
--
--   Healthy      every replica serves the newest spec
--   Suspended    stopped: replicas is 0
--   Progressing  it starts or rolls out, or waits for a node or a GPU
--   Degraded     user action required

-- Reasons of Ready that resolve without intervention; all others are failures.
local ordinary = {
  Starting = true,
  Downloading = true,
  Loading = true,
  WarmingUp = true,
  RollingOut = true,
  Stopping = true,
  WaitingForGPU = true,
  WaitingForNode = true,
  WaitingInQueue = true,
}

local function health(status, message)
  return { status = status, message = message }
end

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions.Ready

-- The status of an older spec must not make a new one look healthy.
if ready == nil or status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "The operator has not processed this spec yet")
end
local available = conditions.Available or {}
if ready.status == "True" then
  if ready.reason == "Stopped" then
    return health("Suspended", ready.message)
  end
  return health("Healthy", ready.message)
end
if available.reason == "Degraded" and ready.reason ~= "RollingOut" then
  return health("Degraded", available.message .. " " .. ready.message)
end
if ordinary[ready.reason] then
  return health("Progressing", status.phase or ready.message)
end
return health("Degraded", ready.message)
