import * as EverySystemCall from "./EverySystemCall.js"
import { agentOperations } from "./Operations.js"

EverySystemCall.test(agentOperations)
