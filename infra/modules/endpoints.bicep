// Private endpoints in the network, each with its DNS records. The zones must exist (zones.bicep).

import { linkType } from 'types.bicep'

param location string
param tags object
param token string
param subnetId string
param links linkType[]

resource endpoints 'Microsoft.Network/privateEndpoints@2025-09-01' = [
  for link in links: {
    name: 'pe-${link.name}-${token}'
    location: location
    tags: tags
    properties: {
      subnet: { id: subnetId }
      privateLinkServiceConnections: [
        {
          name: link.name
          properties: { privateLinkServiceId: link.id, groupIds: [link.group] }
        }
      ]
    }
  }
]

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-09-01' = [
  for (link, i) in links: {
    parent: endpoints[i]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: map(link.zones, zone => {
        name: replace(zone, '.', '-')
        properties: { privateDnsZoneId: resourceId('Microsoft.Network/privateDnsZones', zone) }
      })
    }
  }
]
