import * as EveryStep from "./EveryStep.js"
import { hostOperations } from "./Operations.js"

EveryStep.test(hostOperations)
