variable "region" {
  description = "AWS region, the same as that of infra/iot."
  type        = string
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must have the form of eu-central-1."
  }
}

variable "parameters_key" {
  description = "ARN of the key that encrypts the secret parameters: the output parameters_key of infra/iot."
  type        = string
  validation {
    condition     = can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-f-]{36}$", var.parameters_key))
    error_message = "parameters_key must be the ARN of a KMS key, not of an alias."
  }
}

variable "instance_type" {
  description = "Instance type. A build needs many cores and 2 GiB of memory for each."
  type        = string
  default     = "c7i.8xlarge"
  validation {
    condition     = can(regex("^[a-z0-9-]+\\.[a-z0-9]+$", var.instance_type))
    error_message = "instance_type must have the form of c7i.8xlarge."
  }
}

variable "disk_gib" {
  description = "Size of the machine's disk, in GiB; a build needs about 150."
  type        = number
  default     = 300
  validation {
    condition     = var.disk_gib >= 200 && var.disk_gib <= 2000
    error_message = "disk_gib must be from 200 to 2000."
  }
}

variable "idle_minutes" {
  description = "Minutes below 5 % processor use after which the machine is stopped."
  type        = number
  default     = 60
  validation {
    condition     = var.idle_minutes >= 15 && var.idle_minutes % 5 == 0
    error_message = "idle_minutes must be at least 15, in steps of 5."
  }
}

variable "cache_days" {
  description = "Days after which files in the cache that no build has renewed are removed."
  type        = number
  default     = 90
  validation {
    condition     = var.cache_days >= 7
    error_message = "cache_days must be at least 7."
  }
}
