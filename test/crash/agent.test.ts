import * as EveryStep from "./EveryStep.js"
import { agentOperations } from "./Operations.js"

EveryStep.test(agentOperations)
